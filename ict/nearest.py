"""The best examples of many items for one history: exact, in NumPy, and nothing computed anew that a release fixes.

A score is half of what the histories have in common and half of what the items have. The first half is the same for
all items of a request, the second the same for all requests of a release. So each label keeps, for an item, its NEAR
examples of the most similar items; a request adds the HISTORIES examples of the most similar histories. An example
outside of both lists scores at most the sum of what ends them (the bound of the threshold algorithm, Fagin, Lotem and
Naor 2003). If the best of the two lists are above it, they are the best of all; else all examples are scored.

Suffixes: M examples + 1, G examples of one label, V items, C candidates, D distinct items of examples, E width of a
text vector, P examples kept for an item, Q for a history, N scores of a candidate, K found.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import sqrt
from threading import Lock

import numpy as np

NOTHING = -np.inf  # the score of "no example"
NEAR = HISTORIES = 128  # on Beauty 1 candidate in 200 is then scored in full; 1 kB an item and label
_HALF = np.float32(sqrt(0.5))  # a key holds this share of each half
_ALIKE = 1e-6  # scores this close may have changed places by rounding
_BLOCK = 128  # items whose lists are made at once: a request may wait for one block
_RECENT = 16  # histories whose scores are kept: a request asks for its user's twice
_Pair = tuple[np.ndarray, np.ndarray]  # numbers or places (C, k), and scores (C, k)


@dataclass(frozen=True, slots=True)
class Found:
    """Numbers (C, K), 0 for none, and scores (C, K), -inf for none, of one label after the other."""

    numbers_CK: np.ndarray
    scores_CK: np.ndarray


class NearestExamples:
    """Examples by their keys, in groups of a label, or one of all. Safe for several threads.

    Args:
        key_MX: (M, 2E), as ict.examples.keys makes them; row 0 means "no example".
        item_M: the item of each example.
        item_vectors_VE: of the items that are asked for by number.
        groups: the numbers of each group's examples, ascending; what is found comes in their order.
        near, histories: lengths of the lists of an item and of a request.
    """

    def __init__(
        self,
        key_MX: np.ndarray,
        item_M: np.ndarray,
        item_vectors_VE: np.ndarray,
        groups: list[np.ndarray],
        *,
        near: int = NEAR,
        histories: int = HISTORIES,
    ) -> None:
        width = key_MX.shape[1] // 2
        self._history_keys_EM = np.ascontiguousarray(key_MX[:, :width].T)  # as one query multiplies fastest: exact.py
        self._item_vectors_VE = item_vectors_VE
        self._recent = lru_cache(_RECENT)(self._histories)
        item_keys_ME = key_MX[:, width:]
        self._groups = [
            _Group(numbers_G, item_M, item_keys_ME, item_vectors_VE, near, histories) for numbers_G in groups
        ]

    def prepare(self) -> None:
        """Make the lists of all items, so that no request waits for those of its own; about half a millisecond each."""
        for start in range(0, len(self._item_vectors_VE), _BLOCK):
            block = np.arange(start, min(start + _BLOCK, len(self._item_vectors_VE)))
            for group in self._groups:
                group.prepare(block)

    def histories(self, history_L: np.ndarray) -> np.ndarray:
        """What the history has in common with that of each example, (M,), scaled as keys; not to be written to."""
        return self._recent(history_L.tobytes())

    def _histories(self, history: bytes) -> np.ndarray:
        sum_E = self._item_vectors_VE[np.frombuffer(history, dtype=np.int64)].sum(axis=0)
        return (sum_E / max(float(np.linalg.norm(sum_E)), 1e-12)) @ self._history_keys_EM

    def of_history(self, history_M: np.ndarray, eligible_M: np.ndarray, k: int) -> Found:
        """The k best of each group by their histories alone; C is 1, and scores are cosines."""
        found = []
        for group in self._groups:
            score_1G = np.where(eligible_M, history_M, NOTHING)[None, group.numbers_G] / _HALF
            found.append(group.numbered(*_best(score_1G, k)))
        return _together(found)

    def of_items(self, history_M: np.ndarray, eligible_M: np.ndarray, items_C: np.ndarray, k: int) -> Found:
        """The k best of each group for items by number; equal scores by lower number."""
        open_M = np.where(eligible_M, history_M, NOTHING)
        found = []
        for group in self._groups:
            numbers_Ck, scores_Ck, sure_C = group.listed(open_M[group.numbers_G], items_C, k)
            if not sure_C.all():
                texts_CE = self._item_vectors_VE[items_C[~sure_C]]
                numbers_Ck[~sure_C], scores_Ck[~sure_C] = group.all(open_M[group.numbers_G], texts_CE, k)
            found.append((numbers_Ck, scores_Ck))
        return _together(found)

    def of_texts(self, history_M: np.ndarray, eligible_M: np.ndarray, texts_CE: np.ndarray, k: int) -> Found:
        """The same for items by their text vectors, normalised, (C, E): every example is scored."""
        open_M = np.where(eligible_M, history_M, NOTHING)
        return _together([group.all(open_M[group.numbers_G], texts_CE, k) for group in self._groups])


class _Group:
    """The examples of one label. Many are about the same item, so similarities are of distinct items first."""

    def __init__(
        self,
        numbers_G: np.ndarray,
        item_M: np.ndarray,
        item_keys_ME: np.ndarray,
        item_vectors_VE: np.ndarray,
        near: int,
        histories: int,
    ) -> None:
        self.numbers_G, self._item_vectors_VE = numbers_G, item_vectors_VE
        _, first_D, self._place_G = np.unique(item_M[numbers_G], return_index=True, return_inverse=True)
        self._item_keys_DE = np.ascontiguousarray(item_keys_ME[numbers_G[first_D]])
        self._near, self._histories = min(near, len(numbers_G)), histories
        self._lock = Lock()
        items = len(item_vectors_VE)
        self._made_V = np.zeros(items, dtype=bool)
        self._near_VP = np.empty((items, self._near), dtype=np.int32)  # untouched pages take no memory
        self._score_VP = np.empty((items, self._near), dtype=np.float32)
        self._end_V = np.empty(items, dtype=np.float32)

    def prepare(self, items_C: np.ndarray) -> None:
        """Make the lists of the items that have none: places in the group, scores, and a bound of all others."""
        if self._made_V[items_C].all():
            return
        with self._lock:
            new = np.unique(items_C[~self._made_V[items_C]])
            for start in range(0, len(new), _BLOCK):
                some = new[start : start + _BLOCK]
                score_CG = self._items(self._item_vectors_VE[some])
                near_CP = np.argpartition(-score_CG, self._near - 1, axis=1)[:, : self._near] if self._near else 0
                self._near_VP[some] = near_CP
                self._score_VP[some] = np.take_along_axis(score_CG, self._near_VP[some], axis=1)
                whole = self._near == len(self.numbers_G)
                self._end_V[some] = NOTHING if whole else self._score_VP[some].min(axis=1)
                self._made_V[some] = True

    def listed(self, history_G: np.ndarray, items_C: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The best k of both lists, as `all`, and whether they are sure to be the best of all, (C,)."""
        top_Q, end = self._nearest_histories(history_G)
        if end == NOTHING:  # these are all that are eligible
            return *self._all_of(top_Q, history_G, items_C, k), np.ones(len(items_C), dtype=bool)
        self.prepare(items_C)
        rest_G = history_G.copy()
        rest_G[top_Q] = NOTHING  # they come from the other list
        near_CP = self._near_VP[items_C]
        histories_CQ = history_G[top_Q] + self._items(self._item_vectors_VE[items_C], top_Q)
        score_CN = _HALF * np.hstack([rest_G[near_CP] + self._score_VP[items_C], histories_CQ])
        place_CN = np.hstack([near_CP, np.broadcast_to(top_Q, histories_CQ.shape)])
        at_CN, best_CN = _best(score_CN, k + 1)
        bound_C = np.maximum(_HALF * (self._end_V[items_C] + end), best_CN[:, k])
        found = _by_number(*self.numbered(np.take_along_axis(place_CN, at_CN[:, :k], axis=1), best_CN[:, :k]))
        return *found, best_CN[:, k - 1] > bound_C + _ALIKE

    def all(self, history_G: np.ndarray, texts_CE: np.ndarray, k: int) -> _Pair:
        """The best k of all: numbers (C, k), 0 for none, and scores (C, k), -inf for none."""
        return self.numbered(*_best(_HALF * (history_G + self._items(texts_CE)), k))

    def numbered(self, place_Ck: np.ndarray, score_Ck: np.ndarray) -> _Pair:
        """From places in the group to numbers."""
        if not len(self.numbers_G):
            return np.zeros_like(place_Ck), score_Ck
        return np.where(score_Ck == NOTHING, 0, self.numbers_G[place_Ck]), score_Ck

    def _all_of(self, some_Q: np.ndarray, history_G: np.ndarray, items_C: np.ndarray, k: int) -> _Pair:
        """The best k of the examples at some places, ascending; as `all`."""
        if not len(some_Q):
            return np.zeros((len(items_C), k), dtype=np.int64), np.full((len(items_C), k), NOTHING, dtype=np.float32)
        at_Ck, score_Ck = _best(_HALF * (history_G[some_Q] + self._items(self._item_vectors_VE[items_C], some_Q)), k)
        return self.numbered(some_Q[at_Ck], score_Ck)

    def _items(self, texts_CE: np.ndarray, some_Q: np.ndarray | None = None) -> np.ndarray:
        """What items have in common with that of each example, or of those at some places: (C, G), scaled as keys."""
        if some_Q is not None:
            return texts_CE @ self._item_keys_DE[self._place_G[some_Q]].T
        return (texts_CE @ self._item_keys_DE.T)[:, self._place_G]

    def _nearest_histories(self, history_G: np.ndarray) -> tuple[np.ndarray, np.floating | float]:
        """Places of the examples with the most similar histories, (Q,), and a bound of all others."""
        there = np.flatnonzero(history_G > NOTHING)
        if len(there) <= self._histories:
            return there, NOTHING
        top_Q = np.argpartition(-history_G, self._histories - 1)[: self._histories]
        return top_Q, history_G[top_Q].min()


def _best(score_CN: np.ndarray, k: int) -> _Pair:
    """Places (C, k) and scores (C, k) of the best, equal ones by lower place; changes `score_CN`.

    A few passes over all are many times quicker than a partition.
    """
    if short := max(0, k - score_CN.shape[1]):
        score_CN = np.pad(score_CN, ((0, 0), (0, short)), constant_values=NOTHING)
    rows_C = np.arange(len(score_CN))
    place_Ck = np.empty((len(score_CN), k), dtype=np.int64)
    best_Ck = np.empty((len(score_CN), k), dtype=score_CN.dtype)
    for nth in range(k):
        place_Ck[:, nth] = place_C = score_CN.argmax(axis=1)
        best_Ck[:, nth] = score_CN[rows_C, place_C]
        score_CN[rows_C, place_C] = NOTHING
    return place_Ck, best_Ck


def _by_number(number_Ck: np.ndarray, score_Ck: np.ndarray) -> _Pair:
    """The same, equal scores by lower number."""
    order_Ck = np.lexsort((number_Ck, -score_Ck), axis=1)
    return np.take_along_axis(number_Ck, order_Ck, axis=1), np.take_along_axis(score_Ck, order_Ck, axis=1)


def _together(found: list[_Pair]) -> Found:
    numbers, scores = zip(*found, strict=True)
    return Found(np.hstack(numbers), np.hstack(scores))
