"""What requests and answers look like on the wire. Each model carries an example, which the documentation shows."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from llmcf.service import examples

MOST = 100  # items of an answer
CANDIDATES = 1000  # that a caller may name
HISTORY = 200  # items of an anonymous session
BATCH = 50  # requests of one call
LISTED = 10_000  # ids of a filter
LONGEST_MS = 30_000  # that a request may name as its time

Id = Annotated[str, Field(min_length=1, max_length=256)]
Ids = Annotated[list[Id], Field(max_length=LISTED)]
_ONCE: dict[str, Any] = {"uniqueItems": True}  # as the validators see to


class Message(BaseModel):
    """A part of a request or an answer; what is not documented is refused."""

    model_config = ConfigDict(extra="forbid", ser_json_inf_nan="constants")


class Filters(Message):
    """What may come up; a part that is left out filters nothing."""

    allow: Ids | None = None
    deny: Ids = []
    categories: Annotated[list[Id], Field(max_length=100)] = []
    include_seen: bool = False


class RecommendationRequest(Message):
    """A `user`, or the `history` of a session without one, oldest first.

    With `cursor`, which an answer gave, and all else as in the request that was answered, its next page; only `explain`
    may be another. `session` is an id of the caller's for a history: by it a session stays in its arm. `candidates` are
    ranked in place of what a search finds; the scene's rules, the filters and the rule of taken items hold for them,
    too.
    """

    model_config = examples.shown(
        {"user": "c0", "k": 3, "explain": True}, {"history": ["p1", "p7"], "filters": {"deny": ["p2"]}}
    )

    user: Id | None = None
    k: Annotated[int, Field(ge=1, le=MOST)] = 10
    scene: Annotated[str, Field(max_length=64)] = ""
    filters: Filters = Filters()
    candidates: Annotated[list[Id], Field(min_length=1, max_length=CANDIDATES, json_schema_extra=_ONCE)] | None = None
    history: Annotated[list[Id], Field(min_length=1, max_length=HISTORY)] | None = None
    session: Id | None = None
    explain: bool = False
    cursor: Annotated[str, Field(max_length=500)] | None = None

    @model_validator(mode="after")
    def _one_subject(self) -> "RecommendationRequest":
        if self.user is None and self.history is None:
            raise ValueError("name a user or a history; a cursor goes with the request that it came from")
        if self.user is not None and self.history is not None:
            raise ValueError("a request has a user or a history, not both")
        if self.user is not None and self.session is not None:
            raise ValueError("a session is one without a user: a user stays in an arm by the user's own id")
        if self.candidates and len(set(self.candidates)) < len(self.candidates):
            raise ValueError("candidates holds an item twice")
        return self


class Example(Message):
    """An in-context example that the ranker read: somebody's earlier choice, with a chain of thought about it."""

    user: str
    item_title: str
    taken: bool
    date: str
    similarity: float
    chain_of_thought: str


class Reason(Message):
    """Why an item is shown.

    `example_share` is what the examples add to the score: P(click) with them less that without.
    """

    examples: list[Example]
    example_share: float | None = None
    own_history: list[str] = []


class RecommendedItem(Message):
    """`score` is P(click), null where no model was asked; `placed_by` names a rule that put the item in its place."""

    item: str
    title: str
    score: float | None = None
    placed_by: str | None = None
    reason: Reason | None = None


class ServedBy(Message):
    """What made the answer. `rung` is the step of the ladder: full, or what it fell back to.

    `arm` is the one that the user is in, of the `experiment` that is on; live where there is none. `degraded` names
    what the answer had to do without: `stale <view>`, rows of features that are too old to use, or `feature store not
    read`.
    """

    release: int | None
    experiment: str = ""
    arm: str = "live"
    rung: str
    degraded: list[str] = []
    milliseconds: dict[str, float]


class Recommendations(Message):
    """The best items, best first; `cursor` asks for the next ones of the same ranking.

    Where there are fewer than `k`, `note` says how many and why: the release has no more, or filters, rules and taken
    items leave no more; and that nothing is known of the user.
    """

    model_config = examples.shown(examples.ANSWER)

    id: str
    user: str | None
    items: list[RecommendedItem]
    note: str = ""
    cursor: str | None = None
    served_by: ServedBy


class BatchRequest(Message):
    """Several requests in one call."""

    model_config = examples.shown({"requests": [{"user": "c0", "k": 3}, {"user": "c1", "k": 3}]})

    requests: Annotated[list[RecommendationRequest], Field(min_length=1, max_length=BATCH)]


class BatchEntry(Message):
    """One of them, in the place of its request: an answer, or the problem that it met."""

    status: int
    answer: Recommendations | None = None
    problem: dict[str, Any] | None = None


class BatchAnswer(Message):
    model_config = examples.shown({"entries": [{"status": 200, "answer": examples.ANSWER, "problem": None}]})

    entries: list[BatchEntry]


class ScoreRequest(Message):
    """How likely the user is to take each of these items."""

    model_config = examples.shown({"user": "c0", "items": ["p1", "p2"]})

    user: Id
    items: Annotated[list[Id], Field(min_length=1, max_length=CANDIDATES, json_schema_extra=_ONCE)]

    @model_validator(mode="after")
    def _once(self) -> "ScoreRequest":
        if len(set(self.items)) < len(self.items):
            raise ValueError("items holds an item twice")
        return self


class ItemScore(Message):
    item: str
    score: float


class Scores(Message):
    model_config = examples.shown(
        {"id": "shop-7", "user": "c0", "scores": [{"item": "p1", "score": 0.61}], "served_by": examples.SERVED}
    )

    id: str
    user: str
    scores: list[ItemScore]
    served_by: ServedBy


class Item(Message):
    """An item of the catalogue."""

    item: str
    title: str
    brand: str = ""
    categories: list[str] = []


class Similar(Message):
    model_config = examples.shown(
        {"item": "p1", "items": [{"item": "p7", "title": "Lavender soap", "score": 0.92}], "served_by": examples.SERVED}
    )

    item: str
    items: list[RecommendedItem]
    served_by: ServedBy


class Items(Message):
    model_config = examples.shown({"items": [examples.ITEM], "served_by": examples.SERVED})

    items: list[Item]
    served_by: ServedBy


class User(Message):
    """What is known of a user: the history, newest last, and the profile text."""

    model_config = examples.shown(
        {"user": "c0", "history": [examples.ITEM], "profile": "", "interactions": 8, "served_by": examples.SERVED}
    )

    user: str
    history: list[Item]
    profile: str = ""
    interactions: int
    served_by: ServedBy


class ReleaseInfo(Message):
    """`state` is live, loaded (it can take over at once), ready, or why it cannot be served; `metrics` of the tests;
    `check` is passed, failed and by which gates, or unchecked."""

    release: int
    state: str
    check: str = "unchecked"
    created: str = ""
    ranker: str = ""
    retriever: str = ""
    metrics: dict[str, float] = {}


class Releases(Message):
    model_config = examples.shown(
        {
            "live": 3,
            "releases": [
                {
                    "release": 3,
                    "state": "live",
                    "check": "passed",
                    "created": "2026-01-02T03:04:05+00:00",
                    "ranker": "deepfm, llm-cf, strict",
                    "retriever": "sasrec, none, strict",
                    "metrics": {"ranker auc": 0.836},
                }
            ],
        }
    )

    live: int | None
    releases: list[ReleaseInfo]


class Health(Message):
    model_config = examples.shown(
        {"status": "ok", "checks": {"triton": "ok", "features": "ok"}},
        {"status": "failing", "checks": {"triton": "no Triton answers at 127.0.0.1:8001", "features": "ok"}},
    )

    status: Literal["ok", "failing"]
    checks: dict[str, str] = {}
