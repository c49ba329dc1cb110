"""From a request's message to the recommender and back.

An answer is kept as it was ranked, so that its next pages and its reasons can be asked for later.
Suffixes: C candidates.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from core.errors import LlmcfError, Unavailable, UsageError
from core.progress import say
from ict.filters import Filter
from llmcf.service import cursors, rules
from llmcf.service.engine import Engine, Loaded
from llmcf.service.messages import (
    Example,
    ItemScore,
    Reason,
    RecommendationRequest,
    Recommendations,
    RecommendedItem,
    ScoreRequest,
    Scores,
    ServedBy,
)
from llmcf.service.problems import At, Problem
from llmcf.service.rules import Arranged, Scene
from llmcf.service.store import Store
from llmcf.serving.question import Question, Ranking
from llmcf.serving.recommender import Recommender

CANDIDATES = 200  # that are ranked
_OWN = 3  # items of the user's history that a reason names
FULL, LAST_KNOWN, PREVIOUS, POPULAR = "full", "last known features", "previous release", "popular"
_COLD = "nothing is known of this user now, so these are the most popular items"
_NOTHING = "nothing is left to recommend"


def recommend(engine: Engine, store: Store, asked: RecommendationRequest, request: str) -> Recommendations:
    """Answer one request and keep the answer under its id.

    Raises:
        Problem: for an unknown item, category or scene, or a cursor that is none or somebody else's.
        LlmcfError: as of the recommender.
    """
    if asked.cursor is not None:
        return _next_page(engine, store, asked, request)
    loaded, scene, ranked, rung = _down_the_ladder(engine, asked)
    arranged = _arranged(loaded.recommender, scene, ranked, asked.k)
    kept = Kept.of(loaded, asked, ranked, arranged, rung)
    with suppress(Unavailable):  # an answer is one, also where it cannot be asked for again
        store.keep(request, kept.told())
    if "dense" in loaded.release.stages["ranker"].reads:
        shown = ranked.take(arranged.order[: asked.k])
        engine.served.offer(request, loaded.release.number, loaded.features.today(), shown)
    return kept.page(engine, request, ranked if asked.explain else None)


def _down_the_ladder(engine: Engine, asked: RecommendationRequest) -> tuple[Loaded, Scene, Ranking, str]:
    """The release that answered, the scene's rules, the ranking, and the rung that it stands on.

    popular: no release's models answer, or nothing is known of the user. The others as of `_ranked`.
    """
    scene, question = _question(engine, engine.live.recommender, asked)
    found = _ranked(engine, lambda loaded: question if loaded is engine.live else _question_of(engine, loaded, asked))
    if found is None:
        return engine.live, scene, engine.live.recommender.popular(question), POPULAR
    loaded, ranked, rung = found
    return loaded, scene, ranked, POPULAR if ranked.person is None else rung


def _ranked(engine: Engine, question: Callable[[Loaded], Question | None]) -> tuple[Loaded, Ranking, str] | None:
    """The first release whose models answer, its ranking and the rung; None if there is none.

    full: the live release, from what the feature store says now. last known features: the store does not answer, so
    the user is as last read. previous release: the live one's models do not answer.
    """
    for place, loaded in enumerate((engine.live, *engine.before)):
        asked = question(loaded)
        if asked is None:
            continue
        loaded.features.watch()
        try:
            with loaded.breaker():
                ranked = loaded.recommender.rank(engine.client(loaded), asked)
        except UsageError:
            raise
        except LlmcfError as error:
            engine.drop_client(loaded)
            say(f"release {loaded.release.number} did not answer: {error}")
            continue
        return loaded, ranked, PREVIOUS if place else LAST_KNOWN if loaded.features.degraded else FULL
    return None


def _question_of(engine: Engine, loaded: Loaded, asked: RecommendationRequest) -> Question | None:
    """The question to an older release; None where it does not know what is named."""
    try:
        return _question(engine, loaded.recommender, asked)[1]
    except Problem:
        return None


def again(engine: Engine, store: Store, request: str) -> Recommendations:
    """What was answered, with the examples that the ranker read; Problem 404 if it is not kept."""
    told = store.answer(request)
    if told is None:
        raise Problem(404, "unknown-answer", "no answer is kept under this id")
    kept = Kept(**told)
    return kept.page(engine, request, None, explain=True)


def score(engine: Engine, asked: ScoreRequest, request: str) -> Scores:
    """P(click) of items for a user, in the order asked.

    Raises:
        Problem: 404 for a user of whom nothing is known, 422 for items that the release does not have.
        Unavailable: if no release's models answer.
    """
    live = _rows(engine.live.recommender, asked.items, "/items")

    def question(loaded: Loaded) -> Question | None:
        rows = live if loaded is engine.live else _known(loaded.recommender, asked.items)
        return Question(user=asked.user, candidates=rows) if len(rows) == len(asked.items) else None

    found = _ranked(engine, question)
    if found is None:
        raise Unavailable("no release's models answer now")
    loaded, ranked, rung = found
    if ranked.score_C is None:
        raise Problem(404, "unknown-user", "nothing is known of this user", [At("/user", "unknown")])
    names = loaded.recommender.catalogue.item_ids
    by_item = {names[row]: one for row, one in zip(ranked.item_C.tolist(), ranked.score_C.tolist(), strict=True)}
    scores = [ItemScore(item=item, score=by_item[item]) for item in asked.items]
    served = ServedBy(release=loaded.release.number, rung=rung, milliseconds=ranked.milliseconds)
    return Scores(id=request, user=asked.user, scores=scores, served_by=served)


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer as it is kept: rows of items in the order shown, with what belongs to each.

    Of them it showed `k`, from `start` on.
    """

    release: int
    user: str | None
    k: int
    rung: str
    note: str
    items: list[str]
    titles: list[str]
    scores: list[float] | None
    placed_by: list[str]
    examples: list[list[int]]
    similarities: list[list[float]]
    milliseconds: dict[str, float]
    start: int = 0

    @classmethod
    def of(cls, loaded: Loaded, asked: RecommendationRequest, ranked: Ranking, arranged: Arranged, rung: str) -> "Kept":
        names, order = loaded.recommender.catalogue, arranged.order
        rows = ranked.item_C[order].tolist()
        read = [ranked.examples(at) for at in order]
        note = _COLD if rung == POPULAR else "" if rows else _NOTHING
        return cls(
            release=loaded.release.number,
            user=asked.user,
            k=asked.k,
            rung=rung,
            note=note,
            items=[names.item_ids[row] for row in rows],
            titles=[names.names[row] for row in rows],
            scores=None if ranked.score_C is None else [round(one, 6) for one in ranked.score_C[order].tolist()],
            placed_by=arranged.placed_by,
            examples=[numbers for numbers, _ in read],
            similarities=[[round(one, 4) for one in found] for _, found in read],
            milliseconds=ranked.milliseconds,
        )

    def told(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}

    def page(self, engine: Engine, request: str, ranked: Ranking | None, *, explain: bool = False) -> Recommendations:
        """Items `start` to `start` + `k`; with the ranking, or `explain`, each with its reason."""
        end, found = self.start + self.k, engine.find(self.release)
        places = range(self.start, min(end, len(self.items)))
        reasons: Sequence[Reason | None] = [None] * len(places)
        if found and (ranked or explain):
            reasons = [self._reason(found.recommender, at) for at in places]
            if ranked and ranked.score_C is not None:
                reasons = _with_shares(engine, found, ranked, self, places, reasons)
        items = [
            RecommendedItem(
                item=self.items[at],
                title=self.titles[at],
                score=self.scores[at] if self.scores else None,
                placed_by=self.placed_by[at] or None,
                reason=reason,
            )
            for at, reason in zip(places, reasons, strict=True)
        ]
        return Recommendations(
            id=request,
            user=self.user,
            items=items,
            note=self.note,
            cursor=cursors.make(request, end, self.user, self.items) if end < len(self.items) else None,
            served_by=ServedBy(release=self.release, rung=self.rung, milliseconds=self.milliseconds),
        )

    def _reason(self, recommender: Recommender, at: int) -> Reason:
        found = recommender.evidence(self.examples[at], self.similarities[at])
        return Reason(
            examples=[
                Example(
                    user=one.user,
                    item_title=one.title,
                    taken=one.liked,
                    date=one.date,
                    similarity=one.similarity,
                    chain_of_thought=one.text,
                )
                for one in found
            ]
        )


def _with_shares(
    engine: Engine, loaded: Loaded, ranked: Ranking, kept: Kept, places: range, reasons: Sequence[Reason | None]
) -> list[Reason | None]:
    """What the examples add to each score, by a second look without them; and the user's own items that are nearest."""
    recommender = loaded.recommender
    at = {item: place for place, item in enumerate(ranked.item_C.tolist())}
    chosen = [at[recommender.catalogue.rows[kept.items[place]]] for place in places]
    shown = ranked.take(chosen)
    assert shown.score_C is not None
    share_C: Sequence[float | None] = [None] * len(chosen)
    with suppress(LlmcfError):  # the answer stands without it
        if chosen:
            without_C = recommender.without_examples(engine.client(loaded), shown)
            share_C = [round(share, 6) for share in (shown.score_C - without_C).tolist()]
    own = [recommender.own_items(shown, place, _OWN) for place in range(len(chosen))]
    return [
        reason and reason.model_copy(update={"example_share": share, "own_history": names})
        for reason, share, names in zip(reasons, share_C, own, strict=True)
    ]


def _next_page(engine: Engine, store: Store, asked: RecommendationRequest, request: str) -> Recommendations:
    assert asked.cursor is not None
    first, start = cursors.read(asked.cursor)
    told = store.answer(first)
    if told is None:
        raise cursors.unknown()
    kept = Kept(**told)
    cursors.check(asked.cursor, first, start, kept.user, kept.items)
    if asked.user is not None and asked.user != kept.user:
        raise cursors.unknown()
    shown = replace(kept, start=start, k=asked.k)
    store.keep(request, shown.told())
    page = shown.page(engine, first, None, explain=asked.explain)
    return page.model_copy(update={"id": request})


def _question(engine: Engine, recommender: Recommender, asked: RecommendationRequest) -> tuple[Scene, Question]:
    scene = rules.find(engine.scenes, asked.scene)
    wanted = asked.filters
    allow = [_rows(recommender, wanted.allow, "/filters/allow")] if wanted.allow is not None else []
    allow += [_known(recommender, names) for names in (scene.allow, engine.available(scene)) if names is not None]
    deny = [*_known(recommender, wanted.deny), *_known(recommender, scene.deny)]
    allowed = Filter(
        allow=sorted(set.intersection(*map(set, allow))) if allow else None,
        deny=deny,
        categories=_categories(recommender, wanted.categories) if wanted.categories else None,
    )
    return scene, Question(
        user=asked.user,
        session=_rows(recommender, asked.history or [], "/history"),
        allowed=allowed,
        candidates=None if asked.candidates is None else _rows(recommender, asked.candidates, "/candidates"),
        count=CANDIDATES,
        with_seen=wanted.include_seen or scene.include_seen,
        added=_known(recommender, [item for rule in scene.pin for item in rule.items]),
    )


def _rows(recommender: Recommender, items: Sequence[str], pointer: str) -> list[int]:
    """Rows of items; Problem 422 with the place of each that the release does not have."""
    known = recommender.catalogue.rows
    if strangers := [At(f"{pointer}/{at}", "unknown item") for at, item in enumerate(items) if item not in known]:
        raise Problem(422, "unknown-item", "the release does not have every item that is named", strangers)
    return [known[item] for item in items]


def _known(recommender: Recommender, items: Sequence[str]) -> list[int]:
    """Rows of those items that the release has: to deny what is not there is no fault."""
    known = recommender.catalogue.rows
    return [known[item] for item in items if item in known]


def _categories(recommender: Recommender, names: Sequence[str]) -> list[int]:
    known = recommender.catalogue.category_ids
    wrong = [At(f"/filters/categories/{at}", "unknown category") for at, name in enumerate(names) if name not in known]
    if wrong:
        raise Problem(422, "unknown-category", "the release does not have every category that is named", wrong)
    return [known[name] for name in names]


def _arranged(recommender: Recommender, scene: Scene, ranked: Ranking, k: int) -> Arranged:
    """The scene's rules over the ranking; what no model scored keeps its order."""
    score_C = ranked.score_C
    if score_C is None:
        score_C = np.linspace(1.0, 0.5, len(ranked.item_C))
    return rules.arrange(scene, ranked.item_C, score_C, k, rules.facts(recommender.catalogue))
