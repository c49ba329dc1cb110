"""Metrics on parts of the test rows: by how much is known of the user and of the item on the row's day."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from core import metrics
from core.contracts import PAD
from core.data import tables
from core.settings import Workspace

NEW_DAYS = 30
Mask = NDArray[np.bool_]


def _history(rows: pa.Table) -> NDArray[np.int64]:
    history = rows["history"].combine_chunks()
    return (history.flatten().to_numpy().reshape(rows.num_rows, -1) != PAD).sum(axis=1)


def _new(rows: pa.Table) -> Mask:
    return np.expm1(rows["item_age"].to_numpy()).round() < NEW_DAYS  # NEVER lies below every number of days


def _popular(rows: pa.Table) -> Mask:
    popularity = rows["popularity"].to_numpy()
    return popularity >= np.quantile(popularity, 0.75)


SEGMENTS: dict[str, Callable[[pa.Table], Mask]] = {
    "history of 0-4": lambda rows: _history(rows) < 5,
    "history of 10 and more": lambda rows: _history(rows) >= 10,
    "new items": _new,  # first taken less than NEW_DAYS before, or never
    "popular items": _popular,  # a quarter of the rows, by takings before the row's day
}


def measure(ws: Workspace, scores: Path) -> dict[str, dict[str, float]]:
    """Rows and metrics of each segment of the split `test` that has positives and negatives.

    Args:
        scores: the scores.parquet of a run.
    """
    of_test = pq.read_table(scores, filters=[("split", "=", "test")])
    rows = tables.training_rows(ws)
    rows = rows.take(np.searchsorted(rows["row"].to_numpy(), of_test["row"].to_numpy()))
    label_N, score_N, user_N = (column.to_numpy() for column in (of_test["label"], of_test["score"], rows["user"]))
    found = {}
    for name, segment in SEGMENTS.items():
        at_N = segment(rows)
        if len(np.unique(label_N[at_N])) < 2:
            continue
        found[name] = {
            "rows": int(at_N.sum()),
            **metrics.binary_metrics(label_N[at_N], score_N[at_N], user_N[at_N]),
        }
    return found
