"""The prepared tables of a workspace, each with the verb that makes it."""

import shlex

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from core import schemas, storage
from core.settings import LATEST, Workspace


def remedy(ws: Workspace, verb: str) -> str:
    """The command line that runs `verb` in this workspace, ready for a shell.

    Args:
        verb: its words and options, quoted where a shell needs it.
    """
    place = ["--dataset", ws.dataset, "--order", ws.order]
    if ws.as_of != LATEST:
        place += ["--as-of", ws.as_of]
    return f"llmcf {verb} {shlex.join(place)}"


def interactions(ws: Workspace) -> pa.Table:
    """`schemas.INTERACTIONS`, sorted by user and position."""
    return _prepared(ws, "interactions", schemas.INTERACTIONS)


def comments(ws: Workspace) -> pa.Table:
    """`schemas.COMMENTS`, sorted by user and position; empty where the source has none."""
    return _prepared(ws, "comments", schemas.COMMENTS)


def items(ws: Workspace) -> pa.Table:
    """`schemas.ITEMS`, sorted by item: row i is item i + FIRST_ID, offered or not."""
    return _prepared(ws, "items", schemas.ITEMS)


def offered(ws: Workspace) -> NDArray[np.int64]:
    """The item ids of the workspace's catalogue, ascending: what may be ranked, drawn and recommended.

    Those are the items that somebody took before `as_of`, and those that the items' own table names and nobody ever
    took. `items` has a row for every id of the vocabulary, the rows of other days and sources among them.
    """
    table = items(ws)
    return table["item"].to_numpy()[table["offered"].to_numpy()].astype(np.int64)


def users(ws: Workspace) -> pa.Table:
    """`schemas.USERS`, sorted by user: row i is user i + FIRST_ID."""
    return _prepared(ws, "users", schemas.USERS)


def rows(ws: Workspace) -> pa.Table:
    """`schemas.ROWS`, sorted by row: the positive of interaction i at 2i, its negative at 2i + 1."""
    return _prepared(ws, "rows", schemas.ROWS)


def training_rows(ws: Workspace) -> pa.Table:
    """`schemas.TRAINING_ROWS`: `rows` with the features that Feast joined, sorted by row."""
    path = ws.path("training", "rows.parquet")
    return storage.read_table(path, schemas.TRAINING_ROWS, remedy(ws, "features join"))


def _prepared(ws: Workspace, name: str, schema: pa.Schema) -> pa.Table:
    return storage.read_table(ws.path("data", f"{name}.parquet"), schema, remedy(ws, "data prepare"))
