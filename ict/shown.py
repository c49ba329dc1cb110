"""Which examples a request is shown, and in which order: who may be, the search, the arrangement. NumPy alone.

The serving replica (ict/replica.py) and Triton's model `score` (triton_models/score_model.py) run this same file: a
release carries a copy of it and of ict/nearest.py, so it imports nothing of the project when it runs.

Suffixes: M examples + 1, C candidates, K examples, L history length, E width of a text vector.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ict.nearest import Found, NearestExamples

UNKNOWN = 1  # core.contracts.UNKNOWN: the id by which graphs know what is newer than they are


@dataclass(frozen=True, slots=True)
class Shown:
    """The examples of C candidates, or of one user: numbers (C, K), 0 for none, and similarities (C, K)."""

    examples_CK: np.ndarray
    similarity_CK: np.ndarray

    def interleaved(self, other: "Shown", own_C: np.ndarray) -> "Shown":
        """These rows where `own_C` is true, the other's elsewhere, each in their order."""
        shape = len(own_C), self.examples_CK.shape[1]
        examples_CK = np.empty(shape, dtype=self.examples_CK.dtype)
        similarity_CK = np.empty(shape, dtype=self.similarity_CK.dtype)
        for part, at_C in ((self, own_C), (other, ~own_C)):
            examples_CK[at_C], similarity_CK[at_C] = part.examples_CK, part.similarity_CK
        return Shown(examples_CK, similarity_CK)


@dataclass(frozen=True, slots=True, kw_only=True)
class Who:
    """Whom a request is about.

    Args:
        user: as the graphs know it; `history_L` likewise, int64, padded on the left.
        position: the number of the user's interactions so far.
        day: of the request, counted from 1970-01-01.
    """

    user: int
    position: int
    day: int
    history_L: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True)
class Showing:
    """How one graph's examples are chosen. Safe for several threads.

    Args:
        user_M, position_M, day_M: of the examples, int64; row 0 means "no example", whose day is after every request.
        recipe, seed: those that the graph was trained with.
        per_group: how many of each group of the search.
    """

    search: "NearestExamples"
    user_M: np.ndarray
    position_M: np.ndarray
    day_M: np.ndarray
    recipe: str
    seed: int
    per_group: int

    def of_items(self, who: Who, items_C: np.ndarray) -> Shown:
        """The examples of each candidate, by its row."""
        history_M, eligible_M = self._asked(who)
        found = self.search.of_items(history_M, eligible_M, items_C, self.per_group)
        return arranged(found, who.user, items_C, self.seed)

    def of_texts(self, who: Who, text_CE: np.ndarray) -> Shown:
        """Those of items that came after the release, by the encoder's vectors of their texts.

        Every example is scored for each, so they should be few.
        """
        history_M, eligible_M = self._asked(who)
        found = self.search.of_texts(history_M, eligible_M, text_CE, self.per_group)
        return arranged(found, who.user, np.full(len(text_CE), UNKNOWN), self.seed)

    def of_history(self, who: Who) -> Shown:
        """The examples of the user as such, (1, K)."""
        history_M, eligible_M = self._asked(who)
        found = self.search.of_history(history_M, eligible_M, self.per_group)
        return arranged(found, who.user, np.zeros(1, dtype=np.int64), self.seed)

    def _asked(self, who: Who) -> tuple[np.ndarray, np.ndarray]:
        eligible_M = eligible(self.recipe, self.user_M, self.position_M, self.day_M, who)
        return self.search.histories(who.history_L), eligible_M


def eligible(recipe: str, user_M: np.ndarray, position_M: np.ndarray, day_M: np.ndarray, who: Who) -> np.ndarray:
    """`ict.examples.rule` for one request, (M,), as long as that imports torch; a test holds them equal."""
    if recipe == "paper":
        return (user_M != who.user) | (position_M <= who.position)
    return day_M < who.day


def groups(label_M: np.ndarray, *, constrained: bool) -> list[np.ndarray]:
    """The numbers of the examples that share a place in what is shown: of each label, or all."""
    numbers = np.arange(1, len(label_M))
    return [numbers[label_M[1:] == label] for label in (1, 0)] if constrained else [numbers]


def shuffled_order(examples_CK: np.ndarray, user: int, items_C: np.ndarray, seed: int) -> np.ndarray:
    """`ict.neighbours.shuffled_order` in NumPy, the same bits: a test holds them equal."""
    same = np.int64(user * 0x85EBCA6B + seed * 0x27D4EB2F)
    mixed_CK = examples_CK.astype(np.int64) * 0x9E3779B1 + (items_C.astype(np.int64) * 0xC2B2AE35)[:, None] + same
    for shift in (33, 29):  # a multiplicative hash in wrapping 64-bit arithmetic
        mixed_CK = (mixed_CK ^ (mixed_CK >> shift)) * 0x1B873593CC9E2D51
    return (mixed_CK ^ (mixed_CK >> 32)).argsort(axis=1, kind="stable")


def arranged(found: "Found", user: int, items_C: np.ndarray, seed: int) -> Shown:
    """What was found as it is shown, as `ict.neighbours.arrange`: in a seeded random order, 0 where there is none."""
    scores_CK = np.where(np.isneginf(found.scores_CK), np.float32(0), found.scores_CK)
    order_CK = shuffled_order(found.numbers_CK, user, items_C, seed)
    return Shown(*(np.take_along_axis(one, order_CK, axis=1) for one in (found.numbers_CK, scores_CK)))
