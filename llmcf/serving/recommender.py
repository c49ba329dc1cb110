"""The online path: from a user's id to items with scores and the evidence they rest on.

Feast -> in-context examples -> user vector on Triton -> item search -> examples of each candidate -> ranker on Triton,
all candidates in one batch. What a release needs is read once; a request then asks the online store and Triton, and
looks whether the vocabulary of users, the ledger of pushes and the prepared data are still the files it has read.
Suffixes: C candidates, K examples, L history length, W width of the user vector.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from core import processor
from core.contracts import DENSE, EXAMPLES, PAD, UNKNOWN
from ict.filters import Filter
from llm import quality
from llmcf.feature_store.ledger import taken_of
from llmcf.serving import loading, newcomers
from llmcf.serving.answers import Answer, Evidence, Recommendation
from llmcf.serving.catalogue import Catalogue, Users
from llmcf.serving.manifest import Release
from llmcf.serving.newcomers import Newcomers
from llmcf.serving.question import CANDIDATES, Person, Question, Ranking, Stopwatch, together

if TYPE_CHECKING:
    from ict.replica import ServingReplica
    from ict.shown import Shown
    from retrieval_stage.candidates import CandidateSearch
    from retrieval_stage.items import ItemReplica

_COLD = "cold start: nothing is known of this user, so these are the most popular items"
_NOTHING_LEFT = "nothing is left to recommend: this user has taken every item"
_FEWER = "{} of {} items: this user has taken the others"


class FeatureReader(Protocol):
    """What is asked of llmcf.online.reader.OnlineFeatures, which see."""

    def today(self) -> int: ...
    def user(self, user: int) -> dict[str, Any] | None: ...
    def session(self, items: Sequence[int]) -> dict[str, Any] | None: ...
    def dense(self, user: Mapping[str, Any], items: Sequence[int], day: int) -> np.ndarray: ...
    def popular(self, count: int) -> list[int]: ...
    def prepare(self, items: Sequence[int]) -> None: ...


class Models(Protocol):
    """Who computes the release's graphs: a triton_client.Client, or LocalModels in this process."""

    def infer(self, model: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]: ...


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
    new: Newcomers | None = None

    @property
    def items(self) -> "ItemReplica":
        """The vectors of the items that may be recommended."""
        return self.search.items

    @classmethod
    def load(cls, release: Release, *, without_examples: bool = False, kept: Path | None = None) -> "Recommender":
        """Read what `release` names. From here on NumPy multiplies in one thread, in this process.

        Args:
            without_examples: leave those out, for when Milvus has lost them: every score is then that without any.
            kept: where a service keeps what it has read of Milvus, and reads it from then on.

        Raises:
            LlmcfError: if a collection it names is gone, or the feature store is not ready.
        """
        from llmcf.online.reader import OnlineFeatures

        processor.multiply_in_one_thread()
        search, examples = loading.collections(release, without_examples=without_examples, kept=kept)
        loading.tell_of_other_features(release)
        return cls(
            release=release,
            catalogue=Catalogue.load(release),
            users=Users(release.dataset),
            taken=partial(taken_of, release.workspace),
            features=OnlineFeatures(release.workspace),
            search=search,
            examples=examples,
        )

    def with_newcomers(self, new: Newcomers) -> "Recommender":
        """The same with items that came after the release, in place of those it had; `self` must have had none."""
        found = {"search": newcomers.searched(self.search, new), "catalogue": newcomers.listed(self.catalogue, new)}
        return replace(self, **found, new=new)

    def prepare(self) -> None:
        """Do at once, in seconds, what the first requests would do: for a process that serves many."""
        self.features.prepare(list(self.catalogue.item_ids))
        if self.examples is not None:
            self.examples.prepare()

    def recommend(self, client: Models, raw_user: str, k: int) -> Answer:
        """The best `k` items for a raw user id; popular ones for a user nobody knows, none where none is left."""
        found = self.rank(client, Question(user=raw_user)).first(k)
        items = [self.item(found, at, with_evidence=True) for at in range(len(found.item_C))]
        cold, fewer = found.person is None, len(items) < k
        note = _COLD if cold else "" if not fewer else _FEWER.format(len(items), k) if items else _NOTHING_LEFT
        return Answer(user=raw_user, items=items, cold_start=cold, note=note, milliseconds=found.milliseconds)

    def rank(self, client: Models, asked: Question) -> Ranking:
        """Find candidates, or take the question's own that may come up, and rank them.

        For somebody of whom nothing is known the most popular ones, unscored. Nothing may be left.
        """
        watch = Stopwatch()
        with watch.stage("features"):
            person = self._person(asked)
        if person is None:
            return self.popular(asked, watch)
        if asked.candidates is None:
            item_C, found_C = self._candidates(client, person, asked, watch)
        else:
            item_C, found_C = self._let_through(asked.candidates, self._rule(person, asked)), None
        if not len(item_C):
            return Ranking(person=person, item_C=item_C, score_C=np.empty(0), milliseconds=watch.taken)
        with watch.stage("examples"):
            shown = self._examples_for("ranker", person, item_C)
        with watch.stage("item features"):
            dense_CX = self._dense(person, item_C)
        with watch.stage("ranker"):
            score_C = self._score(client, person, item_C, dense_CX, shown)
        worth_C = score_C if found_C is None else together(score_C, found_C)
        found = Ranking(
            person=person,
            item_C=item_C,
            score_C=score_C,
            worth_C=worth_C,
            shown=shown,
            dense_CX=dense_CX,
            milliseconds=watch.taken,
        )
        return found.take(np.argsort(-worth_C, kind="stable").tolist())

    def find(self, client: Models, asked: Question) -> np.ndarray:
        """The candidates as the item search puts them, best first, unranked, (C,); nothing for somebody unknown."""
        person = self._person(asked)
        return (
            np.empty(0, dtype=np.int64) if person is None else self._candidates(client, person, asked, Stopwatch())[0]
        )

    def popular(self, asked: Question, watch: Stopwatch | None = None) -> Ranking:
        """The items most taken lately, or the question's own candidates as far as it allows them; unscored."""
        watch = watch or Stopwatch()
        with watch.stage("popular items"):
            exact, row = self.items.exact, None if asked.user is None else self.users.row_of(asked.user)
            rule = asked.allowed
            if row is not None and not asked.with_seen:
                rule = _without(rule, self.taken(row))
            if asked.candidates is not None:
                item_C = self._let_through(asked.candidates, rule)
            else:
                allowed = exact.ids_N[exact.mask(rule)]
                wanted = asked.count + CANDIDATES + len(exact.ids_N) - len(allowed)
                ids = np.asarray(self.features.popular(wanted), dtype=np.int64)
                item_C = ids[np.isin(ids, allowed)][: asked.count]
                added = np.intersect1d(np.asarray(asked.added, dtype=np.int64), allowed)
                item_C = np.concatenate([item_C, np.setdiff1d(added, item_C)])
        return Ranking(person=None, item_C=item_C, score_C=None, milliseconds=watch.taken)

    def without_examples(self, client: Models, ranked: Ranking) -> np.ndarray:
        """P(click) of the same candidates as if no example were known, (C,): what is left of a score without w."""
        assert ranked.person is not None
        assert ranked.dense_CX is not None
        return self._score(client, ranked.person, ranked.item_C, ranked.dense_CX, None)

    def item(self, ranked: Ranking, at: int, *, with_evidence: bool) -> Recommendation:
        """One of the ranked items, by raw id and title."""
        row = int(ranked.item_C[at])
        score = None if ranked.score_C is None else round(float(ranked.score_C[at]), 6)
        numbers, similarities = ranked.examples()
        evidence = self.evidence(numbers[at], similarities[at]) if with_evidence else []
        names = self.catalogue
        return Recommendation(item=names.item_ids[row], title=names.names[row], score=score, evidence=evidence)

    def like(self, item: int, count: int) -> Ranking:
        """The items whose vectors are nearest to this item's by cosine, itself left out; no model is asked."""
        exact = self.items.exact
        length_V = np.maximum(np.linalg.norm(exact.vectors_NX, axis=1), 1e-12)
        at = int(np.searchsorted(exact.ids_N, item))
        score_V = exact.vectors_NX @ exact.vectors_NX[at] / (length_V * length_V[at])
        best = np.argsort(-score_V, kind="stable")
        best = best[best != at][:count]
        return Ranking(person=None, item_C=exact.ids_N[best], score_C=score_V[best])

    def own_history(self, ranked: Ranking, count: int) -> tuple[list[str], list[list[int]]]:
        """Titles of the person's own history, and for each candidate the places in them of those that are most like it.

        At most `count` of them, most alike first; none for a candidate that has no vector.
        """
        exact, nothing = self.items.exact, [[] for _ in ranked.item_C]
        if ranked.person is None:
            return [], nothing
        own_H = np.unique(ranked.person.history_L)
        own_H = own_H[np.isin(own_H, exact.ids_N) & (own_H != PAD)]
        there_C = np.isin(ranked.item_C, exact.ids_N)
        if not len(own_H) or not there_C.any():
            return [], nothing
        vectors_HW = exact.vectors_NX[np.searchsorted(exact.ids_N, own_H)]
        unit_HW = vectors_HW / np.maximum(np.linalg.norm(vectors_HW, axis=1, keepdims=True), 1e-12)
        alike_CH = exact.vectors_NX[np.searchsorted(exact.ids_N, ranked.item_C[there_C])] @ unit_HW.T
        best = iter(np.argsort(-alike_CH, axis=1, kind="stable")[:, :count].tolist())
        titles = [self.catalogue.names[one] for one in own_H.tolist()]
        return titles, [next(best) if there else [] for there in there_C]

    def evidence(self, numbers: Sequence[int], similarities: Sequence[float]) -> list[Evidence]:
        """What examples of these numbers are about, most similar first; 0 is none."""
        if self.examples is None:
            return []
        found = []
        for similarity, number in sorted(zip(similarities, numbers, strict=True), reverse=True):
            if number:
                found.append(self._evidence_of(number, similarity))
        return found

    def _person(self, asked: Question) -> Person | None:
        row = None if asked.user is None else self.users.row_of(asked.user)
        state = None if row is None else self.features.user(row)
        if row is None and asked.session:
            state = self.features.session(asked.session)
        if state is None:
            return None
        history_L = np.array(state["history"], dtype=np.int64)
        return Person(
            row=row,
            user=row if row is not None and row < self.release.users_end else UNKNOWN,
            history_L=np.where(history_L < self.release.items_end, history_L, UNKNOWN),
            state=state,
        )

    def _candidates(
        self, client: Models, person: Person, asked: Question, watch: Stopwatch
    ) -> tuple[np.ndarray, np.ndarray]:
        """The items that the user's vector and the blended evidence find, without those the user has taken, and their
        scores, (C,) each."""
        with watch.stage("user examples"):
            shown = self._examples_for("user_vector", person, None)
        with watch.stage("user vector"):
            vector_1W = client.infer("user_vector", {**_person_rows(person, 1), **_example_rows(shown, 1)})["vector"]
        with watch.stage("item search"):
            vector_W, today = self._with_last_text(vector_1W[0], person), self.features.today()
            rule = self._rule(person, asked)
            return self.search.search(vector_W, person.history_L, today, asked.count, rule, also=asked.added)

    def _with_last_text(self, vector_W: np.ndarray, person: Person) -> np.ndarray:
        """The user's vector with the text of the last item, where that came after the release."""
        last = np.asarray(person.state["history"][-1:], dtype=np.int64)
        if self.new is None or not self.new.among(last).any():
            return vector_W
        weight = np.float32(self.release.blend.get("text", 0.0))
        return self.search.space.with_last_text(vector_W, weight * self.new.texts_of(last)[0])

    def _rule(self, person: Person, asked: Question) -> Filter:
        """What may come up: what the question allows, without what the person has taken."""
        if asked.with_seen:
            return asked.allowed
        taken = person.history_L if person.row is None else np.union1d(self.taken(person.row), person.history_L)
        return _without(asked.allowed, taken)

    def _let_through(self, candidates: Sequence[int], rule: Filter) -> np.ndarray:
        """Those of a question's own candidates that may come up, in their order, (C,), found by search or not."""
        item_C = np.asarray(candidates, dtype=np.int64)
        columns = {"id": item_C}
        if "categories" in rule.reads():
            columns["categories"] = self.catalogue.categories_of(item_C)
        return item_C[rule.mask(columns)]

    def _score(
        self, client: Models, person: Person, item_C: np.ndarray, dense_CX: np.ndarray, shown: "Shown | None"
    ) -> np.ndarray:
        """P(click) of each candidate, (C,)."""
        count = len(item_C)
        rows = {**_person_rows(person, count), **_example_rows(shown, count), "item": item_C, "dense": dense_CX}
        if self.new is not None and self.new.among(item_C).any():
            rows |= self.new.inputs(item_C)
        return client.infer("ranker", rows)["score"]

    def _examples_for(self, model: str, person: Person, candidates_C: np.ndarray | None) -> "Shown | None":
        """Examples for the user as such, (1, K), or for each candidate, (C, K); None where the graph reads none."""
        if self.examples is None or "examples" not in self.release.stages[model].reads:
            return None
        who = {"user": person.user, "position": person.position, "day": self.features.today()}
        if candidates_C is None:
            return self.examples.for_retrieval(**who, history_L=person.history_L)
        known_C = np.full(len(candidates_C), True) if self.new is None else ~self.new.among(candidates_C)
        shown = self.examples.for_ranking(**who, history_L=person.history_L, items_C=candidates_C[known_C])
        if self.new is None or known_C.all():
            return shown
        texts_CE = self.new.texts_of(candidates_C[~known_C])
        return shown.interleaved(
            self.examples.for_new_items(**who, history_L=person.history_L, text_CE=texts_CE), known_C
        )

    def _dense(self, person: Person, candidates_C: np.ndarray) -> np.ndarray:
        """The as-of features in the contract's order, (C, len(DENSE)); zeros where the graph reads none."""
        if "dense" not in self.release.stages["ranker"].reads:
            return np.zeros((len(candidates_C), len(DENSE)), dtype=np.float32)
        return self.features.dense(person.state, candidates_C.tolist(), self.features.today())

    def _evidence_of(self, number: int, similarity: float) -> Evidence:
        assert self.examples is not None
        about = self.examples.evidence(number)
        return Evidence(
            example=number,
            user=self.users.raw_id(about["user"]),
            title=self.catalogue.names[about["item"]],
            liked=about["label"] == 1,
            date=date.fromordinal(date(1970, 1, 1).toordinal() + about["day"]).isoformat(),
            similarity=round(similarity, 4),
            text=quality.undecided(about["text"]),
        )


def _without(allowed: Filter, taken: np.ndarray) -> Filter:
    return replace(allowed, deny=np.union1d(np.asarray(allowed.deny, dtype=np.int64), taken))


def _person_rows(person: Person, count: int) -> dict[str, np.ndarray]:
    return {"user": np.full(count, person.user), "history": np.tile(person.history_L, (count, 1))}


def _example_rows(shown: "Shown | None", count: int) -> dict[str, np.ndarray]:
    if shown is None:
        return {
            "examples": np.zeros((count, EXAMPLES), dtype=np.int64),
            "similarity": np.zeros((count, EXAMPLES), dtype=np.float32),
        }
    return {"examples": shown.examples_CK, "similarity": shown.similarity_CK}
