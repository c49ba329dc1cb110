"""What a data set hands over: raw tables, whatever the source looked like."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from core.contracts import ORDERS
from core.data.intake import Notes
from core.data.rejects import Rejects

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
COMMENTS = pa.schema(
    [
        ("user", pa.string()),
        ("item", pa.string()),
        ("timestamp", pa.int64()),
        ("text", pa.string()),  # as `texts.comment` leaves it, never empty
    ]
)
USERS = pa.schema([("raw_id", pa.string()), ("age", pa.int32()), ("gender", pa.string()), ("occupation", pa.string())])


@dataclass(frozen=True, slots=True)
class RawTables:
    """Interactions in the published order; what is unknown of a user or an item need not have a row in its table.

    `comments` has what users wrote about what they took: at most one row an interaction, of its user, item and time.
    """

    interactions: pa.Table
    items: pa.Table
    users: pa.Table
    rejects: Rejects = field(default_factory=Rejects)
    notes: Notes = field(default_factory=Notes)
    comments: pa.Table = field(default_factory=COMMENTS.empty_table)


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """How a data set speaks in prompts: what its items are, what people did with them, what an item does."""

    item: str = "product"
    items: str = "products"
    chose: str = "bought"
    purpose: str = "is for"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """How to read one data set.

    Args:
        files: the files to read, given the user's `--source` or None; fetches them if that is the default.
        read: the tables in those files.
        code: source files whose change makes prepared data stale, relative to the project.
        counts: interactions, items and users of the complete set, which estimates rest on.
        published: whether `counts` are those of the paper's Table 2, which a complete preparation must equal.
        live: whether data keeps arriving, so that its clock is the wall's; an archive's stopped at its last event.
        words: how it speaks.
        order: of verbs that are given none.
        said: what a description says about the tables, as JSON; a change makes prepared data stale.
    """

    files: Callable[[Path | None], Sequence[Path]]
    read: Callable[[Sequence[Path]], RawTables]
    code: tuple[str, ...]
    counts: tuple[int, int, int]
    published: bool = False
    live: bool = False
    words: Words = field(default_factory=Words)
    order: str = ORDERS[0]
    said: Mapping[str, Any] = field(default_factory=dict)
