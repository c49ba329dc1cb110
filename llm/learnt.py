"""Which interactions a tuned model may have read: kept with its files, since its day may go and rows change numbers.

Suffixes: N interactions, U user ids.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from core import storage
from core.data import tables
from core.errors import Missing
from core.settings import Workspace

FILE = "learnt.parquet"
_KEY = ("user", "item", "timestamp")  # what an interaction is in every order and on every day


def keep(ws: Workspace, folder: Path) -> None:
    """Write what a model that was tuned in the workspace may have read into `folder`; nothing without training rows.

    That is each user's interactions up to the last one of the training split, whichever rows were drawn of them: a
    row's history has what lies before it.
    """
    try:
        rows = tables.training_rows(ws)
    except Missing:
        return
    taken, split = tables.interactions(ws), rows.filter(pc.field("split") == "train")
    user_N, position_N = (taken[name].to_numpy() for name in ("user", "position"))
    last_U = np.full(int(user_N.max(initial=0)) + 1, -1, dtype=np.int64)
    np.maximum.at(last_U, split["user"].to_numpy(), split["position"].to_numpy())
    read = taken.select(_KEY).filter(pa.array(position_N <= last_U[user_N]))
    with storage.atomic_path(folder / FILE) as beside:
        pq.write_table(read, beside, compression="zstd")


def unread(rows: pa.Table, folder: Path, *, until: str | None) -> pa.Table:
    """The pairs of rows whose interaction a model cannot have read.

    Args:
        rows: positives, each followed by its negative, as `schemas.TRAINING_ROWS`.
        folder: of the model, with or without a FILE.
        until: the day of the newest interaction that it may know, where it has no FILE; None: it was tuned on none.
    """
    positives = rows.filter(pc.field("label") == 1).select(["row", *_KEY])
    if (folder / FILE).is_file():
        told = pq.read_table(folder / FILE).cast(positives.select(_KEY).schema)
        positives = positives.join(told, keys=list(_KEY), join_type="left anti")
    elif until is not None:
        after = datetime.fromisoformat(until).replace(tzinfo=UTC) + timedelta(days=1)
        positives = positives.filter(pc.field("timestamp") >= int(after.timestamp()))
    free = positives["row"].to_numpy()
    return rows.filter(np.isin(rows["row"].to_numpy(), np.concatenate([free, free + 1])))
