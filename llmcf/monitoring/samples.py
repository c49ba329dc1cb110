"""The values of every feature that are held against the reference's.

Of a feature view it is the newest state of each entity, which is what requests read; of the `ranking` service,
on-demand features among them, the training rows of the newest interactions. Dates are told as days before the
workspace's end, since a date is another each day. A list gives its entries, or its length where these are items.
Suffixes: N values, L entries of a list.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from core import storage
from core.contracts import DENSE, ON_SALE, PAD
from core.data import features, tables
from core.settings import LATEST, Workspace

Kind = Literal["number", "category", "presence"]
ROWS = "ranking"  # how samples of training rows are named; those of views have the view's name


@dataclass(frozen=True, slots=True)
class Sample:
    """Values of one feature that are there, (N,), and of how many rows; `presence` has nothing but these."""

    name: str
    kind: Kind
    values_N: NDArray
    there_R: NDArray[np.bool_]

    @property
    def missing(self) -> float:
        return 1 - float(self.there_R.mean()) if len(self.there_R) else float("nan")


def end_day(ws: Workspace, interactions: pa.Table) -> int:
    """The first day that the workspace does not see, from 1970-01-01: the as-of day, or the one after the newest."""
    if ws.as_of == LATEST:
        return int(interactions["day"].to_numpy().max(initial=-1)) + 1
    return int(np.datetime64(ws.as_of, "D").astype(np.int64))


def newest_rows(rows: pa.Table, end: int, days: int) -> pa.Table:
    """The training rows of interactions of the `days` days before `end`: positives, each once."""
    day, split = rows["day"].to_numpy(), rows["split"].to_numpy(zero_copy_only=False)
    taken = (rows["label"].to_numpy() == 1) & (split != ON_SALE)
    return rows.filter(pa.array(taken & (day >= end - days) & (day < end)))


def of_views(ws: Workspace, end: int) -> Iterator[Sample]:
    """A sample of every field of the feature views.

    Raises:
        Missing: if the features are not built.
    """
    for view, schema in features.SCHEMAS.items():
        path = ws.path("features", f"{view}.parquet")
        newest = _newest(storage.read_table(path, schema, tables.remedy(ws, "features build")))
        for name, read in FIELDS[view].items():
            full = f"{view}.{name}{_SUFFIXES.get(read, '')}"
            yield Sample(full, *read(newest[name].combine_chunks(), end))


def of_rows(rows: pa.Table) -> Iterator[Sample]:
    """A sample of every dense feature that rankers read, on-demand ones among them."""
    for name in DENSE:
        yield Sample(f"{ROWS}.{name}", *_number(rows[name].combine_chunks(), 0))


def _newest(states: pa.Table) -> pa.Table:
    """The newest state of each entity, by the entity, which is the first column."""
    entity = states[states.column_names[0]].to_numpy()
    order = np.lexsort((states["event_timestamp"].cast(pa.int64()).to_numpy(), entity))
    last = np.append(np.diff(entity[order]) != 0, True)[: len(order)]
    return states.take(pa.array(order[last]))


Read = tuple[Kind, NDArray, NDArray[np.bool_]]  # the values that are there, and which rows have one


def _number(column: pa.Array, _end: int) -> Read:
    values = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
    there = np.isfinite(values)
    return "number", values[there], there


def _day(column: pa.Array, end: int) -> Read:
    """A day from 1970-01-01 as days before the end; 0 is none."""
    values = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
    there = np.isfinite(values) & (values > 0)
    return "number", end - values[there], there


def _id(column: pa.Array, _end: int) -> Read:
    values = column.fill_null(PAD).to_numpy(zero_copy_only=False)
    there = values != PAD
    return "category", values[there], there


def _word(column: pa.Array, _end: int) -> Read:
    values = column.fill_null("").to_numpy(zero_copy_only=False).astype(str)
    there = values != ""
    return "category", values[there], there


def _text(column: pa.Array, _end: int) -> Read:
    return "presence", np.empty(0), np.asarray(column.fill_null("").to_numpy(zero_copy_only=False) != "")


def _entries(column: pa.Array) -> tuple[NDArray, NDArray[np.bool_], NDArray[np.int64]]:
    """The entries of lists that are not PAD, which rows have one, and how many."""
    filled = column.fill_null([])
    flat, row = filled.flatten().to_numpy(zero_copy_only=False), pc.list_parent_indices(filled).to_numpy()  # pyright: ignore[reportAttributeAccessIssue]
    there = flat != PAD
    count_R = np.bincount(row[there], minlength=len(filled))
    return flat[there], count_R > 0, count_R


def _length(column: pa.Array, _end: int) -> Read:
    _, _, count_R = _entries(column)
    return "number", count_R, ~column.is_null().to_numpy(zero_copy_only=False)


def _numbers(column: pa.Array, _end: int) -> Read:
    values, there_R, _ = _entries(column)
    return "number", values, there_R


def _days(column: pa.Array, end: int) -> Read:
    values, there_R, _ = _entries(column)
    return "number", end - values, there_R


def _ids(column: pa.Array, _end: int) -> Read:
    values, there_R, _ = _entries(column)
    return "category", values, there_R


Reader = Callable[[pa.Array, int], Read]
FIELDS: dict[str, dict[str, Reader]] = {
    "user_profile": {"age": _number, "gender": _word, "occupation": _word, "profile": _text},
    "user_history": {
        "history": _length,
        "history_days": _days,
        "history_brands": _ids,
        "history_categories": _ids,
        "activity": _number,
        "taste_popularity": _number,
        "brand_affinity": _number,
        "category_affinity": _number,
    },
    "item_attributes": {"title": _text, "brand_id": _id, "category_ids": _ids},
    "item_popularity": {
        "popularity": _number,
        "popularity_7d": _number,
        "popularity_30d": _number,
        "popularity_90d": _number,
        "trend": _number,
        "first_day": _day,
    },
    "item_neighbours": {"neighbours": _length, "neighbour_counts": _numbers},
}
_SUFFIXES = {_length: " (length)", _day: " (days ago)", _days: " (days ago)"}
NAMES = (
    *(f"{view}.{name}{_SUFFIXES.get(read, '')}" for view, fields in FIELDS.items() for name, read in fields.items()),
    *(f"{ROWS}.{name}" for name in DENSE),
)  # of all samples
