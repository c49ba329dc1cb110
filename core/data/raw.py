"""What a data set hands over: three raw tables, whatever the source looked like."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

INTERACTIONS = pa.schema(
    [
        ("user", pa.string()),
        ("item", pa.string()),
        ("timestamp", pa.int64()),  # Unix seconds
        ("rating", pa.float32()),  # null where the source has none
    ]
)
ITEMS = pa.schema(
    [("raw_id", pa.string()), ("title", pa.string()), ("brand", pa.string()), ("categories", pa.list_(pa.string()))]
)
USERS = pa.schema([("raw_id", pa.string()), ("age", pa.int32()), ("gender", pa.string()), ("occupation", pa.string())])


@dataclass(frozen=True, slots=True)
class RawTables:
    """Interactions in the source's own order; every user and item of theirs has a row in its table."""

    interactions: pa.Table
    items: pa.Table
    users: pa.Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """How to read one data set.

    Args:
        files: the files to read, given the user's `--source` folder or None; fetches them if that is the default.
        read: the tables in those files.
        code: source files whose change makes prepared data stale, relative to the project.
        counts: interactions, items and users of the complete set, which estimates rest on.
    """

    files: Callable[[Path | None], Sequence[Path]]
    read: Callable[[Sequence[Path]], RawTables]
    code: tuple[str, ...]
    counts: tuple[int, int, int]
