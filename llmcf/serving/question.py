"""What a recommender is asked, whom it is about, and the ranking that it gives.

Suffixes: C candidates, K examples, L history length.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ict.filters import Filter
from llmcf.serving import tracing

if TYPE_CHECKING:
    from ict.shown import Shown

CANDIDATES = 100


@dataclass(slots=True)
class Stopwatch:
    """Milliseconds by stage, in the order of the stages."""

    taken: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        with tracing.span(name):
            yield
        self.taken[name] = round((time.perf_counter() - start) * 1e3, 3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """One user's online state; `user` and `history_L` as the graphs know them, `row` and `state` as the store does.

    A session that belongs to no known user has no row.
    """

    row: int | None
    user: int
    history_L: np.ndarray
    state: Mapping[str, Any]

    @property
    def position(self) -> int:
        """How many interactions there were so far."""
        return round(float(np.expm1(self.state["activity"])))


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked of a recommender.

    Args:
        user: raw id; or None, with `session`: rows of items, oldest first.
        allowed: what may come up beside the rule that taken items do not.
        candidates: rows to rank, (C,), those that may come up; None where they are to be found.
        count: how many are found.
        with_seen: items that the user has taken may come up again.
        added: rows that are ranked beside what is found, as far as they may come up.
    """

    user: str | None = None
    session: Sequence[int] = ()
    allowed: Filter = field(default_factory=Filter)
    candidates: Sequence[int] | None = None
    count: int = CANDIDATES
    with_seen: bool = False
    added: Sequence[int] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """Candidates, best first: rows (C,) and P(click) (C,), None where no model was asked; what was shown of each,
    and the as-of features that it had, (C, len(DENSE)).

    `worth_C` is what they are ordered by (`together`), P(click) where no search found them, None where that is.
    `person` is None for somebody of whom nothing is known.
    """

    person: Person | None
    item_C: np.ndarray
    score_C: np.ndarray | None
    worth_C: np.ndarray | None = None
    shown: "Shown | None" = None
    dense_CX: np.ndarray | None = None
    milliseconds: dict[str, float] = field(default_factory=dict)

    def first(self, count: int) -> "Ranking":
        """The best `count` of them."""
        return self.take(range(min(count, len(self.item_C))))

    def take(self, places: Sequence[int]) -> "Ranking":
        """Those at `places`."""
        at = np.array(places, dtype=np.int64)
        shown = self.shown and replace(
            self.shown, examples_CK=self.shown.examples_CK[at], similarity_CK=self.shown.similarity_CK[at]
        )
        by_place = {"score_C": self.score_C, "worth_C": self.worth_C, "dense_CX": self.dense_CX}
        taken = {name: None if one is None else one[at] for name, one in by_place.items()}
        return replace(self, item_C=self.item_C[at], shown=shown, **taken)

    def examples(self) -> tuple[list[list[int]], list[list[float]]]:
        """Numbers and similarities of the examples that the ranker read with each candidate; empty without."""
        if self.shown is None:
            nothing: list = [[] for _ in self.item_C]
            return nothing, nothing
        similarity_CK = self.shown.similarity_CK.astype(np.float64).round(4)  # as float32 it would have more digits
        return self.shown.examples_CK.tolist(), similarity_CK.tolist()


def together(score_C: np.ndarray, found_C: np.ndarray) -> np.ndarray:
    """What candidates are ordered by, (C,): the ranker's odds of a click times the item search's likelihood.

    Both stages learnt against items drawn at random, so the log of either is an estimate of how likely the user is to
    take the item next, up to a constant of the request, and their sum is another, of equal parts.

    Args:
        score_C: P(click).
        found_C: scores of the item search, as of its softmax over the catalogue.
    """
    sure = 1e-6  # a ranker that is surer is told apart by the search alone
    score_C = np.clip(score_C.astype(np.float64), sure, 1 - sure)
    return score_C / (1 - score_C) * np.exp(found_C - found_C.max(initial=-np.inf))
