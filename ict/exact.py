"""The exact search that an index is held against, and that serving's replicas are: a masked matrix product.

Suffixes: N rows, B queries, X width of a vector, k results.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from core.contracts import PAD
from ict.filters import Columns, Filter

NOTHING = -np.inf  # the score of "no row"


@dataclass(frozen=True, slots=True)
class Exact:
    """Rows in memory: `ids_N` ascending, unit vectors or any, and the columns that filters ask for.

    Args:
        across_XN: the vectors once more, a number of all rows after the other.
    """

    ids_N: np.ndarray
    vectors_NX: np.ndarray
    columns: Columns
    across_XN: np.ndarray | None = None

    def for_single_queries(self) -> Self:
        """The same with its vectors once more, for who asks one query at a time.

        OpenBLAS multiplies one vector with many rows as sums of numbers that lie side by side where the rows lie
        across, and as a product a row where they do not, which takes an AVX2 processor twice as long and more
        (benchmarks/results/one_query.md).
        """
        return replace(self, across_XN=np.ascontiguousarray(self.vectors_NX.T))

    def search(
        self, queries_BX: np.ndarray, k: int, filters: Filter | Sequence[Filter] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The k best rows of each query by inner product: ids and scores, (B, k), best first, ties by lower id.

        Args:
            filters: one for all queries, or one for each. Where fewer than k rows are left, the rest is PAD with a
                score of -inf.

        Raises:
            UsageError: if the rows lack a column that a filter asks for.
        """
        score_BN = queries_BX @ (self.vectors_NX.T if self.across_XN is None else self.across_XN)
        if isinstance(filters, Filter):
            score_BN[:, ~self.mask(filters)] = NOTHING
        else:
            for score_N, rule in zip(score_BN, filters or (), strict=filters is not None):
                score_N[~self.mask(rule)] = NOTHING
        found = [self._best(score_N, k) for score_N in score_BN]
        shape = len(queries_BX), k
        ids_Bk = np.array([ids for ids, _ in found], dtype=np.int64).reshape(shape)
        return ids_Bk, np.array([scores for _, scores in found], dtype=score_BN.dtype).reshape(shape)

    def scores(self, query_X: np.ndarray, rule: Filter) -> np.ndarray:
        """Inner products of one query with all rows, (N,); -inf where `rule` does not let a row through.

        Raises:
            UsageError: as `search` does.
        """
        score_N = query_X @ (self.vectors_NX.T if self.across_XN is None else self.across_XN)
        score_N[~self.mask(rule)] = NOTHING
        return score_N

    def places(self, ids_M: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The rows of those of some ids that there are, (P,), and which of the ids these are, (P,)."""
        place_M = np.searchsorted(self.ids_N, ids_M).clip(max=len(self.ids_N) - 1)
        there_P = np.flatnonzero(self.ids_N[place_M] == ids_M)
        return place_M[there_P], there_P

    def mask(self, rule: Filter) -> np.ndarray:
        """True where `rule` lets a row through, (N,)."""
        return rule.mask({"id": self.ids_N, **self.columns})

    def _best(self, score_N: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Of one query."""
        best = top(score_N, k)
        short = k - len(best)
        ids_k = np.where(score_N[best] == NOTHING, PAD, self.ids_N[best])
        return np.pad(ids_k, (0, short)), np.pad(score_N[best], (0, short), constant_values=NOTHING)


def top(score_N: np.ndarray, k: int) -> np.ndarray:
    """Places of the k best scores, or all where there are fewer, best first, ties by lower place; only those as good as
    the k-th best are sorted."""
    places = np.arange(len(score_N))
    if k < len(score_N):
        places = np.flatnonzero(score_N >= np.partition(score_N, -k)[-k])
    return places[np.argsort(-score_N[places], kind="stable")][:k]
