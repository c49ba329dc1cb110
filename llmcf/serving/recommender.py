"""The online path: from a user's id to items with scores and the evidence they rest on.

Feast -> in-context examples -> user vector on Triton -> item search -> examples of each candidate -> ranker on Triton,
all candidates in one batch. What a release needs is read once; a request then asks the online store and Triton, and
looks whether the vocabulary of users, the ledger of pushes and the prepared data are still the files it has read.
Suffixes: C candidates, K examples, L history length, W width of the user vector.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from core.contracts import DENSE, EXAMPLES, UNKNOWN
from core.progress import say
from ict.filters import Filter
from llmcf.feature_store import registry
from llmcf.feature_store.ledger import taken_of
from llmcf.serving import held, manifest
from llmcf.serving.answers import Answer, Evidence, Recommendation
from llmcf.serving.catalogue import Catalogue, Users
from llmcf.serving.manifest import ITEM_VECTORS, Release
from llmcf.serving.triton_client import Client

if TYPE_CHECKING:
    from pymilvus import MilvusClient

    from ict.replica import ServingReplica, Shown
    from retrieval_stage.candidates import CandidateSearch
    from retrieval_stage.items import ItemReplica

CANDIDATES = 100
_COLD = "cold start: nothing is known of this user, so these are the most popular items"
_NOTHING_LEFT = "nothing is left to recommend: this user has taken every item"


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
    """One user's online state; `user` and `history_L` as the graphs know them, `row` and `state` as the store does."""

    row: int
    user: int
    history_L: np.ndarray
    state: Mapping[str, Any]

    @property
    def position(self) -> int:
        """How many interactions there were so far."""
        return round(float(np.expm1(self.state["activity"])))


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommender:
    """A release in memory: names, item search, examples (None where no graph reads them), feature reader.

    What the graphs rank and the names of it stay as they were loaded; users' states, what they have taken, the features
    of items and what is popular are as the home has them at each request.
    """

    release: Release
    catalogue: Catalogue
    users: Users
    taken: Callable[[int], np.ndarray]
    features: FeatureReader
    search: "CandidateSearch"
    examples: "ServingReplica | None"

    @classmethod
    def load(cls, release: Release) -> "Recommender":
        """Read what `release` names.

        Raises:
            LlmcfError: if a collection it names is gone, or the feature store is not ready.
        """
        from llmcf.online.reader import OnlineFeatures

        search, examples = _load_collections(release)
        _tell_of_other_features(release)
        return cls(
            release=release,
            catalogue=Catalogue.load(release),
            users=Users(release.dataset),
            taken=partial(taken_of, release.workspace),
            features=OnlineFeatures(release.workspace),
            search=search,
            examples=examples,
        )

    def recommend(self, client: Client, raw_user: str, k: int) -> Answer:
        """The best `k` items for a raw user id; popular ones for a user nobody knows, none where none is left."""
        watch = Stopwatch()
        with watch.stage("features"):
            person = self._person(raw_user)
        if person is None:
            return self._popular(raw_user, k, watch)
        candidates_C = self._candidates(client, person, watch)
        if not len(candidates_C):
            return Answer(user=raw_user, items=[], note=_NOTHING_LEFT, milliseconds=watch.taken)
        score_C, shown = self._rank(client, person, candidates_C, watch)
        with watch.stage("evidence"):
            best = np.argsort(-score_C, kind="stable")[:k]
            items = [self._item(int(candidates_C[at]), float(score_C[at]), shown, int(at)) for at in best]
        return Answer(user=raw_user, items=items, milliseconds=watch.taken)

    def _person(self, raw_user: str) -> Person | None:
        row = self.users.row_of(raw_user)
        state = None if row is None else self.features.user(row)
        if row is None or state is None:
            return None
        history_L = np.array(state["history"], dtype=np.int64)
        return Person(
            row=row,
            user=row if row < self.release.users_end else UNKNOWN,
            history_L=np.where(history_L < self.release.items_end, history_L, UNKNOWN),
            state=state,
        )

    def _popular(self, raw_user: str, k: int, watch: Stopwatch) -> Answer:
        with watch.stage("popular items"):
            ids = [item for item in self.features.popular(k + CANDIDATES) if item in self.search.items][:k]
        items = [Recommendation(item=self.catalogue.item_ids[i], title=self.catalogue.names[i]) for i in ids]
        return Answer(user=raw_user, items=items, cold_start=True, note=_COLD, milliseconds=watch.taken)

    def _candidates(self, client: Client, person: Person, watch: Stopwatch) -> np.ndarray:
        """The items that the user's vector and the blended evidence find, without those the user has taken: (C,)."""
        with watch.stage("user examples"):
            shown = self._examples_for("user_vector", person, None)
        with watch.stage("user vector"):
            vector_1W = client.infer("user_vector", {**_person_rows(person, 1), **_example_rows(shown, 1)})["vector"]
        with watch.stage("item search"):
            seen = Filter(deny=np.union1d(self.taken(person.row), person.history_L))
            today = self.features.today()
            item_C, _ = self.search.search(vector_1W[0], person.history_L, today, CANDIDATES, seen)
        return item_C

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
        if self.examples is None or "examples" not in self.release.stages[model].reads:
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
        if "dense" not in self.release.stages["ranker"].reads:
            return np.zeros((len(candidates_C), len(DENSE)), dtype=np.float32)
        return self.features.dense(person.state, candidates_C.tolist(), self.features.today())

    def _item(self, item: int, score: float, shown: "Shown | None", at: int) -> Recommendation:
        catalogue = self.catalogue
        evidence = self._evidence(shown, at) if shown else []
        return Recommendation(
            item=catalogue.item_ids[item], title=catalogue.names[item], score=round(score, 6), evidence=evidence
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
                    user=self.users.raw_id(about["user"]),
                    title=self.catalogue.names[about["item"]],
                    liked=about["label"] == 1,
                    date=date.fromordinal(date(1970, 1, 1).toordinal() + about["day"]).isoformat(),
                    similarity=round(similarity, 4),
                    text=about["text"],
                )
            )
        return found


def _tell_of_other_features(release: Release) -> None:
    """The weights know the features as feature_repo/ defined them when the release was made."""
    made_with = release.features.get("repo")
    if made_with and made_with != registry.materialized(release.workspace)["release"]["repo"]:
        say(
            f"the online store of {release.workspace.root} was filled by another feature_repo/ than release "
            f"{release.number} was made with: its features may mean something else to the weights"
        )


def _load_collections(release: Release) -> "tuple[CandidateSearch, ServingReplica | None]":
    """The item search and the examples that the release names, through one connection.

    Raises:
        LlmcfError: if Milvus does not hold one of them any more.
    """
    from ict import milvus
    from retrieval_stage.items import ItemReplica

    with milvus.connect(release.workspace) as client:
        held.require(client, release)
        items = ItemReplica.read(client, release.collections["items"])
        examples = _examples(client, release) if "cot" in release.collections else None
    return _search(release, items), examples


def _search(release: Release, items: "ItemReplica") -> "CandidateSearch":
    """The search in `items` by all that the release keeps for it."""
    from retrieval_stage import transition_graph
    from retrieval_stage.candidates import CandidateSearch
    from retrieval_stage.item_space import ItemSpace
    from retrieval_stage.text_map import TextMap
    from retrieval_stage.transition_graph import TransitionGraph

    weight = release.blend.get("graph", 0.0)
    placed = manifest.TEXT_MAP in release.evidence
    return CandidateSearch(
        items=items,
        space=ItemSpace.under(release.blend, TextMap.load(release.folder / manifest.TEXT_MAP) if placed else None),
        graph=TransitionGraph.load(release.folder / transition_graph.FILE) if weight else None,
        weight=weight,
    )


def _examples(client: "MilvusClient", release: Release) -> "ServingReplica":
    from safetensors.torch import load_file

    from ict.neighbours import NeighbourConfig
    from ict.replica import ServingReplica

    vectors_VE = load_file(release.folder / release.item_vectors)[ITEM_VECTORS]
    ranker, tower = (release.stages[model] for model in ("ranker", "user_vector"))
    return ServingReplica.read(
        client,
        release.collections["cot"],
        vectors_VE,
        ranking=NeighbourConfig(stage="ranking", recipe=ranker.recipe, seed=ranker.seed),
        retrieval=NeighbourConfig(stage="retrieval", recipe=tower.recipe, seed=tower.seed),
    )


def _person_rows(person: Person, count: int) -> dict[str, np.ndarray]:
    return {"user": np.full(count, person.user), "history": np.tile(person.history_L, (count, 1))}


def _example_rows(shown: "Shown | None", count: int) -> dict[str, np.ndarray]:
    if shown is None:
        return {
            "examples": np.zeros((count, EXAMPLES), dtype=np.int64),
            "similarity": np.zeros((count, EXAMPLES), dtype=np.float32),
        }
    return {"examples": shown.examples_CK.numpy(), "similarity": shown.similarity_CK.numpy()}
