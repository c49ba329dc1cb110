"""How far one sample is from another: the population stability index of values, the shift of a cloud of vectors.

Bins come from the reference, so that they can be kept and every later day is counted in the same ones. Suffixes: N
values, B bins, V vectors, E width.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from core.metrics import Numbers

Floats = NDArray[np.float64]
BINS = 10  # of numbers: tenths of the reference
MOST_FREQUENT = 20  # categories that have a bin of their own
FLOOR = 1e-4  # share that an empty bin counts as, so that its logarithm is finite
COSINES = np.linspace(-1, 1, 41)  # edges of the bins of a cloud's cosines
_LEAST = float(np.finfo(np.float64).tiny)  # processes that train take what is nearer to 0 for 0
_SURE = 0.999
_BLOCK = 65_536  # vectors at a time


@dataclass(frozen=True, slots=True)
class NumberBins:
    """Bins of a number: up to and with each of `edges`, and above the last.

    The first edge lies just below the least value of the reference and the last is its greatest, so that the outer bins
    are empty there and fill when a later day leaves its range. A constant has one bin between them.
    """

    edges: tuple[float, ...]

    @classmethod
    def of(cls, values_N: Numbers, *, bins: int = BINS) -> Self:
        """Raises ValueError for no values."""
        if not len(values_N):
            raise ValueError("bins need a value")
        inner = np.quantile(np.asarray(values_N, dtype=np.float64), np.arange(1, bins) / bins, method="inverted_cdf")
        least, most = float(np.min(values_N)), float(np.max(values_N))
        below = -_LEAST if abs(least) < _LEAST else float(np.nextafter(least, -np.inf))
        return cls((below, *np.unique([*inner, most]).tolist()))

    def count(self, values_N: Numbers) -> NDArray[np.int64]:
        """How many values each bin holds, (B,)."""
        places = np.searchsorted(self.edges, np.asarray(values_N, dtype=np.float64), side="left")
        return np.bincount(places, minlength=len(self.edges) + 1)

    def names(self) -> list[str]:
        least = 0.0 if self.edges[0] == -_LEAST else float(np.nextafter(self.edges[0], np.inf))
        return [f"< {least:.4g}", *(f"≤ {edge:.4g}" for edge in self.edges[1:]), f"> {self.edges[-1]:.4g}"]


@dataclass(frozen=True, slots=True)
class CategoryBins:
    """Bins of a category: the most frequent ones of the reference, then all others that it has.

    What the reference does not have is in no bin: `strange` counts it.
    """

    frequent: tuple[str | int, ...]
    others: frozenset[str | int]

    @classmethod
    def of(cls, values_N: NDArray, *, most: int = MOST_FREQUENT) -> Self:
        """Raises ValueError for no values."""
        if not len(values_N):
            raise ValueError("bins need a value")
        names, counts = np.unique(values_N, return_counts=True)
        ordered = names[np.lexsort((names, -counts))].tolist()
        return cls(tuple(ordered[:most]), frozenset(ordered[most:]))

    def count(self, values_N: NDArray) -> NDArray[np.int64]:
        """How many values each bin holds, (B,)."""
        names, counts = np.unique(values_N, return_counts=True)
        found = dict(zip(names.tolist(), counts.tolist(), strict=True))
        return np.array(
            [*(found.get(name, 0) for name in self.frequent), sum(found.get(one, 0) for one in self.others)]
        )

    def strange(self, values_N: NDArray) -> float:
        """The share of values that the reference does not have; 0 of no values."""
        return 1 - float(self.count(values_N).sum()) / len(values_N) if len(values_N) else 0.0

    def names(self) -> list[str]:
        return [*map(str, self.frequent), "others"]


Bins = NumberBins | CategoryBins


def bins_as_json(bins: Bins) -> dict[str, Any]:
    """What `bins_from_json` makes the same bins of."""
    if isinstance(bins, NumberBins):
        return {"kind": "number", "edges": list(bins.edges)}
    return {"kind": "category", "frequent": list(bins.frequent), "others": sorted(bins.others)}  # pyright: ignore[reportArgumentType]


def bins_from_json(told: dict[str, Any]) -> Bins:
    if told["kind"] == "number":
        return NumberBins(tuple(told["edges"]))
    return CategoryBins(tuple(told["frequent"]), frozenset(told["others"]))


def shares(counts_B: Numbers) -> Floats:
    """Shares of a count, an empty bin's raised to FLOOR; zeros of a sample without values."""
    counts = np.asarray(counts_B, dtype=np.float64)
    return np.maximum(counts / counts.sum(), FLOOR) if counts.sum() else np.zeros(len(counts))


def psi(before_B: Numbers, now_B: Numbers) -> float:
    """Population stability index: sum over bins of (now - before) * ln(now / before), of shares; NaN for no values.

    An empty bin counts as a share of FLOOR (1 in 10,000); a bin that is empty in both adds nothing.
    """
    if not np.sum(before_B) or not np.sum(now_B):
        return float("nan")
    before, now = shares(before_B), shares(now_B)
    return float(((now - before) * np.log(now / before)).sum())


def psi_by_chance(before_B: Numbers, now_B: Numbers) -> float:
    """What the index of two samples of one distribution stays below in 999 of 1,000 cases.

    It is then about chi-squared of as many degrees as bins less one, times 1/n + 1/m (Yurdakul and Naranjo 2020).
    """
    from scipy import stats

    before, now = np.asarray(before_B), np.asarray(now_B)
    degrees = int(((before + now) > 0).sum()) - 1
    if degrees < 1 or not before.sum() or not now.sum():
        return 0.0
    return float(stats.chi2.ppf(_SURE, degrees) * (1 / before.sum() + 1 / now.sum()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Cloud:
    """Vectors in short.

    Args:
        norm: the mean of their lengths.
        centre: the mean of the vectors, each brought to length 1, (E,); its own length says how alike they are.
        cosines: how many have which cosine with the centre, in 40 bins from -1 to 1.
    """

    count: int
    norm: float
    centre: tuple[float, ...]
    cosines: tuple[int, ...]

    @classmethod
    def of(cls, vectors_VE: NDArray) -> Self:
        """Vectors of length 0 stand for nothing and are left out.

        Raises:
            ValueError: if no other is there.
        """
        norm_V = np.concatenate([np.linalg.norm(block_VE, axis=1) for block_VE in _blocks(vectors_VE)])
        there_V = norm_V > 0
        if not there_V.any():
            raise ValueError("there is no vector")
        sum_E = sum(_unit(block_VE).sum(axis=0) for block_VE in _blocks(vectors_VE))
        centre_E = np.asarray(sum_E) / there_V.sum()
        length = float(np.linalg.norm(centre_E)) or 1.0
        cosine_V = np.concatenate([_unit(block_VE) @ centre_E for block_VE in _blocks(vectors_VE)]) / length
        counts, _ = np.histogram(np.clip(cosine_V[there_V], -1, 1), bins=COSINES)
        return cls(
            count=int(there_V.sum()),
            norm=float(norm_V[there_V].mean()),
            centre=tuple(centre_E.tolist()),
            cosines=tuple(counts.tolist()),
        )

    @property
    def likeness(self) -> float:
        """0 where they point everywhere, 1 where all are the same."""
        return float(np.linalg.norm(self.centre))


def _blocks(vectors_VE: NDArray) -> Iterator[Floats]:
    """The vectors in double precision, some at a time; one empty block where there are none."""
    for start in range(0, max(len(vectors_VE), 1), _BLOCK):
        yield vectors_VE[start : start + _BLOCK].astype(np.float64)


def _unit(vectors_VE: Floats) -> Floats:
    """Each at length 1; those of length 0 stay."""
    norm_V1 = np.linalg.norm(vectors_VE, axis=1, keepdims=True)
    return vectors_VE / np.where(norm_V1 > 0, norm_V1, 1)


def centre_shift(before: Cloud, now: Cloud) -> float:
    """1 less the cosine of two centres.

    Raises:
        ValueError: if they are not equally wide.
    """
    if len(before.centre) != len(now.centre):
        raise ValueError(f"vectors of {len(before.centre)} and of {len(now.centre)} numbers are not compared")
    scale = before.likeness * now.likeness
    return max(0.0, 1 - float(np.dot(before.centre, now.centre)) / scale) if scale else 1.0


def shift_by_chance(before: Cloud, now: Cloud) -> float:
    """Four times the shift that is to be expected of two samples of one cloud.

    The error of a mean of n unit vectors whose mean has length r is (1 - r^2) / n in the square, and turns it by half
    of that over r^2.
    """
    square = min(before.likeness, now.likeness) ** 2
    return 4 * (1 - square) / (2 * square) * (1 / before.count + 1 / now.count) if square else float("inf")


def gini(counts_V: Sequence[int] | Numbers) -> float:
    """Gini coefficient of counts: 0 where all are equal, near 1 where one has everything; NaN where all are 0."""
    sorted_V = np.sort(np.asarray(counts_V, dtype=np.float64))
    total, size = sorted_V.sum(), len(sorted_V)
    if not total:
        return float("nan")
    return float((2 * np.arange(1, size + 1) - size - 1) @ sorted_V / (size * total))


def gap_by_chance(before_N: NDArray, now_N: NDArray) -> float:
    """Three standard errors of the difference of two samples' means; 0 where one has fewer than two values."""
    if min(len(before_N), len(now_N)) < 2:
        return 0.0
    return 3 * float(np.sqrt(np.var(before_N, ddof=1) / len(before_N) + np.var(now_N, ddof=1) / len(now_N)))
