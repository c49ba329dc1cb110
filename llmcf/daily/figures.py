"""What a release's answers of a day come to, as a whole and for parts of the rows.

A part takes the rows whose own user or item belongs to it; a request belongs to the part of what was taken. Suffixes: N
rows, B requests.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from core import uncertainty
from core.contracts import PAD
from core.segments import SEGMENTS
from llmcf.gates.answering import TOP, Answers
from llmcf.gates.figures import METRICS

DRAWS = 200  # of the bootstrap over users that an interval rests on
LEVEL = 0.95
LEAST = 10  # requests of a category that is told of
_NAMES = {"hit": f"hit@{TOP}", "ndcg": f"ndcg@{TOP}"}
_DIMENSIONS = {  # of core.segments
    "activity": ("history of 0-4", "history of 5-9", "history of 10 and more"),
    "item age": ("new items", "older items"),
    "item popularity": ("popular items", "less popular items"),
}
COVERAGE = f"coverage@{TOP}"
NAMES = (*(_NAMES.get(name, name) for name in METRICS), COVERAGE)
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What the parts of a day's rows are told by.

    Args:
        categories: the names of each item's, by item.
        first_of_user, first_of_item: the first day of each, by row of the vocabulary.
        until: the first day of which the release knows nothing.
        searched: how many items its item search may find.
    """

    categories: dict[int, list[str]]
    first_of_user: NDArray[np.int64]
    first_of_item: NDArray[np.int64]
    until: int
    searched: int


def measure(rows: pa.Table, told: Answers, world: World) -> list[dict[str, Any]]:
    """A line a part and metric: the value with its interval, and what it rests on; None where there is no value."""
    return [
        {"dimension": dimension, "segment": segment, **line}
        for dimension, segment, mask_N in _parts(rows, world)
        if mask_N.any()
        for line in _lines(told.of(mask_N), world)
    ]


def _parts(rows: pa.Table, world: World) -> Iterator[tuple[str, str, Mask]]:
    yield "all", "all", np.ones(rows.num_rows, dtype=bool)
    for dimension, names in _DIMENSIONS.items():
        yield from ((dimension, name, SEGMENTS[name](rows)) for name in names)
    for dimension, column, first in (
        ("user", "user", world.first_of_user),
        ("item", "item", world.first_of_item),
    ):
        new_N = first[rows[column].to_numpy()] >= world.until
        yield from ((dimension, f"new {column}s", new_N), (dimension, f"known {column}s", ~new_N))
    yield from _categories(rows, world)


def _categories(rows: pa.Table, world: World) -> Iterator[tuple[str, str, Mask]]:
    """Each that enough of what was taken carries, and not all of it."""
    of_row = [world.categories.get(item, []) for item in rows["item"].to_pylist()]
    positive_N = rows["label"].to_numpy() == 1
    for name in sorted({name for names in of_row for name in names}):
        mask_N = np.array([name in names for names in of_row])
        if LEAST <= (mask_N & positive_N).sum() < positive_N.sum():
            yield "category", name, mask_N


def _lines(told: Answers, world: World) -> Iterator[dict[str, Any]]:
    rests = {"rows": len(told.label_N), "requests": len(told.rank_B), "users": len(np.unique(told.user_N))}
    for name, drawn in METRICS.items():
        ranked = name in _NAMES
        if ranked and not len(told.rank_B):
            value = low = high = None
        else:
            statistic, users = drawn(told)
            found = uncertainty.bootstrap(statistic, users, draws=DRAWS, level=LEVEL)
            value, low, high = (_finite(one) for one in (found.estimate, found.low, found.high))
        yield {"metric": _NAMES.get(name, name), "value": value, "low": low, "high": high, **rests}
    shown = np.unique(told.found_BK)
    share = float((shown != PAD).sum() / world.searched) if world.searched and len(told.rank_B) else None
    yield {"metric": COVERAGE, "value": share, "low": None, "high": None, **rests}


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
