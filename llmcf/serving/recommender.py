"""The online path: from a user's id to items with scores and the evidence they rest on.

Feast -> in-context examples -> user vector on Triton -> item search -> examples of each candidate -> ranker on Triton,
all candidates in one batch. What a release needs is read once; a request then touches Feast and Triton only.
Suffixes: C candidates, K examples, L history length, W width of the user vector.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from core import settings, steps
from core.contracts import DENSE, EXAMPLES, PAD, TRITON_MODELS, UNKNOWN
from core.data.tables import remedy
from core.errors import Missing
from core.settings import Workspace
from llmcf.serving import releases
from llmcf.serving.answers import Answer, Evidence, Recommendation
from llmcf.serving.catalogue import Catalogue
from llmcf.serving.releases import Release
from llmcf.serving.triton_client import Client

if TYPE_CHECKING:
    from ict.index import ServingReplica, Shown
    from retrieval_stage.items import ItemReplica

CANDIDATES = 100
_COLD = "cold start: nothing is known of this user, so these are the most popular items"


@dataclass(slots=True)
class Stopwatch:
    """Milliseconds by stage, in the order of the stages."""

    taken: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.taken[name] = round((time.perf_counter() - start) * 1e3, 3)


class FeatureReader(Protocol):
    """What is asked of llmcf.online.reader.OnlineFeatures, which see."""

    def today(self) -> int: ...
    def user(self, user: int) -> dict[str, Any] | None: ...
    def dense(self, user: Mapping[str, Any], items: Sequence[int], day: int) -> np.ndarray: ...
    def popular(self, count: int) -> list[int]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """One user's online state; `user` and `history_L` as the models know them, `state` as the store holds it."""

    user: int
    history_L: np.ndarray
    state: Mapping[str, Any]

    @property
    def position(self) -> int:
        """How many interactions there were so far."""
        return round(float(np.expm1(self.state["activity"])))


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommender:
    """A release in memory: catalogue, item vectors, examples (None where no graph reads them), feature reader.

    `reads` names the inputs that each graph declares; what none reads is not looked up.
    """

    catalogue: Catalogue
    features: FeatureReader
    items: "ItemReplica"
    examples: "ServingReplica | None"
    reads: Mapping[str, frozenset[str]]

    @classmethod
    def load(cls, ws: Workspace, release: Release) -> "Recommender":
        """Read what `release` names.

        Raises:
            LlmcfError: if a collection it names is gone or replaced, or the feature store is not ready.
        """
        from llmcf.online.reader import OnlineFeatures

        repository = settings.triton_models()
        reads = {
            model: frozenset(releases.manifest(repository, model, release.number)["inputs"]) for model in TRITON_MODELS
        }
        return cls(
            catalogue=Catalogue.load(ws),
            features=OnlineFeatures(ws),
            items=_load_items(ws, release),
            examples=_load_examples(ws, release) if any("examples" in names for names in reads.values()) else None,
            reads=reads,
        )

    def recommend(self, client: Client, raw_user: str, k: int) -> Answer:
        """The best `k` items for a raw user id; popular ones for a user nobody knows."""
        watch = Stopwatch()
        with watch.stage("features"):
            person = self._person(raw_user)
        if person is None:
            return self._popular(raw_user, k, watch)
        candidates_C = self._candidates(client, person, watch)
        score_C, shown = self._rank(client, person, candidates_C, watch)
        with watch.stage("evidence"):
            best = np.argsort(-score_C, kind="stable")[:k]
            items = [self._item(int(candidates_C[at]), float(score_C[at]), shown, int(at)) for at in best]
        return Answer(user=raw_user, items=items, milliseconds=watch.taken)

    def _person(self, raw_user: str) -> Person | None:
        row = self.catalogue.row_of(raw_user)
        state = None if row is None else self.features.user(row)
        if row is None or state is None:
            return None
        history_L = np.array(state["history"], dtype=np.int64)
        known_L = np.where(history_L < self.catalogue.items_end, history_L, UNKNOWN)
        return Person(user=row if row < self.catalogue.users_end else UNKNOWN, history_L=known_L, state=state)

    def _popular(self, raw_user: str, k: int, watch: Stopwatch) -> Answer:
        with watch.stage("popular items"):
            ids = self.features.popular(k)
        items = [Recommendation(item=self.catalogue.item_ids[i], title=self.catalogue.titles[i]) for i in ids]
        return Answer(user=raw_user, items=items, cold_start=True, note=_COLD, milliseconds=watch.taken)

    def _candidates(self, client: Client, person: Person, watch: Stopwatch) -> np.ndarray:
        """The items nearest to the user's vector, without those the user has taken: (C,)."""
        with watch.stage("user examples"):
            shown = self._examples_for("user_vector", person, None)
        with watch.stage("user vector"):
            vector_1W = client.infer("user_vector", {**_person_rows(person, 1), **_example_rows(shown, 1)})["vector"]
        with watch.stage("item search"):
            taken = self.catalogue.taken.get(person.user, np.empty(0, dtype=np.int64))
            exclude = np.union1d(taken, person.history_L).tolist()
            ids_1C, _ = self.items.search(vector_1W, CANDIDATES, [exclude])
        return np.asarray(ids_1C[0])[np.asarray(ids_1C[0]) != PAD]

    def _rank(
        self, client: Client, person: Person, candidates_C: np.ndarray, watch: Stopwatch
    ) -> tuple[np.ndarray, "Shown | None"]:
        """P(click) of each candidate, (C,), and the examples it was given."""
        count = len(candidates_C)
        with watch.stage("examples"):
            shown = self._examples_for("ranker", person, candidates_C)
        with watch.stage("item features"):
            dense_CX = self._dense(person, candidates_C)
        with watch.stage("ranker"):
            rows = {**_person_rows(person, count), **_example_rows(shown, count)}
            score_C = client.infer("ranker", {**rows, "item": candidates_C, "dense": dense_CX})["score"]
        return score_C, shown

    def _examples_for(self, model: str, person: Person, candidates_C: np.ndarray | None) -> "Shown | None":
        """Examples for the user as such, (1, K), or for each candidate, (C, K); None where the graph reads none."""
        if self.examples is None or "examples" not in self.reads[model]:
            return None
        import torch

        today = self.features.today()
        history_L = torch.from_numpy(person.history_L)
        if candidates_C is None:
            return self.examples.for_retrieval(
                user=person.user, position=person.position, day=today, history_L=history_L
            )
        items_C = torch.from_numpy(candidates_C)
        return self.examples.for_ranking(
            user=person.user, position=person.position, day=today, history_L=history_L, items_C=items_C
        )

    def _dense(self, person: Person, candidates_C: np.ndarray) -> np.ndarray:
        """The as-of features in the contract's order, (C, len(DENSE)); zeros where the graph reads none."""
        if "dense" not in self.reads["ranker"]:
            return np.zeros((len(candidates_C), len(DENSE)), dtype=np.float32)
        return self.features.dense(person.state, candidates_C.tolist(), self.features.today())

    def _item(self, item: int, score: float, shown: "Shown | None", at: int) -> Recommendation:
        catalogue = self.catalogue
        evidence = self._evidence(shown, at) if shown else []
        return Recommendation(
            item=catalogue.item_ids[item], title=catalogue.titles[item], score=round(score, 6), evidence=evidence
        )

    def _evidence(self, shown: "Shown", at: int) -> list[Evidence]:
        """What the examples of one candidate are about, most similar first."""
        assert self.examples is not None
        pairs = zip(shown.similarity_CK[at].tolist(), shown.examples_CK[at].tolist(), strict=True)
        found = []
        for similarity, number in sorted((pair for pair in pairs if pair[1]), reverse=True):
            about = self.examples.evidence(number)
            found.append(
                Evidence(
                    example=number,
                    user=self.catalogue.user_ids[about["user"]],
                    title=self.catalogue.titles[about["item"]],
                    liked=about["label"] == 1,
                    date=date.fromordinal(date(1970, 1, 1).toordinal() + about["day"]).isoformat(),
                    similarity=round(similarity, 4),
                    text=about["text"],
                )
            )
        return found


def _load_items(ws: Workspace, release: Release) -> "ItemReplica":
    from ict import milvus
    from retrieval_stage.items import KIND, ItemReplica

    name = release.collections["items"]
    with milvus.connect(ws) as client:
        if name not in milvus.versions(client, ws, KIND):
            raise Missing(f"Milvus does not hold {name} any more", remedy(ws, "export"))
        return ItemReplica.read(client, name)


def _load_examples(ws: Workspace, release: Release) -> "ServingReplica":
    from ict.index import ServingReplica

    live = steps.require(ws.path("cot", "index"), remedy(ws, "cot index"))["summary"]["collection"]
    if live != release.collections["cot"]:
        raise Missing(
            f"release {release.number} was made with the examples of {release.collections['cot']}, and {live} is live "
            "now",
            remedy(ws, "export"),
        )
    return ServingReplica.load(ws, recipe=release.recipe, seed=release.seed)


def _person_rows(person: Person, count: int) -> dict[str, np.ndarray]:
    return {"user": np.full(count, person.user), "history": np.tile(person.history_L, (count, 1))}


def _example_rows(shown: "Shown | None", count: int) -> dict[str, np.ndarray]:
    if shown is None:
        return {
            "examples": np.zeros((count, EXAMPLES), dtype=np.int64),
            "similarity": np.zeros((count, EXAMPLES), dtype=np.float32),
        }
    return {"examples": shown.examples_CK.numpy(), "similarity": shown.similarity_CK.numpy()}
