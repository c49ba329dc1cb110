"""Raw ids to rows of embedding tables, in vocabularies that only grow.

A row is given once and never again: a model trained on an earlier version still means the same by it, and what is newer
than the model is its UNKNOWN row. One vocabulary of each kind for a data set, shared by all orders and as-of days.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
from filelock import FileLock

from core import settings, storage
from core.contracts import FIRST_ID

KINDS = ("users", "items", "brands", "categories")
SCHEMA = pa.schema([("raw_id", pa.string()), ("row", pa.int64()), ("version", pa.int32())])


def load(dataset: str, kind: str) -> pa.Table:
    """`SCHEMA`, sorted by row from FIRST_ID on without a gap; empty if nothing was ever seen.

    `version` counts how many times the vocabulary had grown when the row was given.
    """
    place = path(dataset, kind)
    return storage.parquet(place) if place.exists() else SCHEMA.empty_table()


def rows(dataset: str, kind: str) -> dict[str, int]:
    """The row of every known raw id."""
    return _rows(load(dataset, kind))


def numbered(dataset: str, kind: str, raw_ids: Iterable[str]) -> dict[str, int]:
    """The rows that `grow` would give now, without giving them."""
    found = rows(dataset, kind)
    for raw_id in raw_ids:
        found.setdefault(raw_id, len(found) + FIRST_ID)
    return found


def grow(dataset: str, kind: str, raw_ids: Iterable[str]) -> dict[str, int]:
    """The row of every known raw id, after those of `raw_ids` that were not known got the next rows, in order.

    Atomic, and safe between processes.
    """
    place = path(dataset, kind)
    place.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(place.with_name(f".{kind}.lock")):
        table = load(dataset, kind)
        known = _rows(table)
        fresh = [raw_id for raw_id in dict.fromkeys(raw_ids) if raw_id not in known]
        if fresh:
            given = np.arange(FIRST_ID + len(known), FIRST_ID + len(known) + len(fresh))
            columns = {"raw_id": fresh, "row": given, "version": np.full(len(fresh), _version(table) + 1)}
            storage.write_table(place, pa.concat_tables([table, pa.table(columns).cast(SCHEMA)]), SCHEMA)
            known |= dict(zip(fresh, given.tolist(), strict=True))
    return known


def path(dataset: str, kind: str) -> Path:
    """The file of a vocabulary, which changes only when it grows."""
    assert kind in KINDS, kind
    return settings.home() / dataset / "vocabulary" / f"{kind}.parquet"


def _rows(table: pa.Table) -> dict[str, int]:
    return dict(zip(table["raw_id"].to_pylist(), table["row"].to_pylist(), strict=True))


def _version(table: pa.Table) -> int:
    return table["version"][-1].as_py() if table.num_rows else 0
