"""Metrics of clicks on parts of the test rows."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from core import metrics, segments
from core.data import tables
from core.settings import Workspace

# Those that lines of results have; a line with others would be a new one.
_NAMES = ("history of 0-4", "history of 10 and more", "new items", "popular items")
SEGMENTS = {name: segments.SEGMENTS[name] for name in _NAMES}


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
