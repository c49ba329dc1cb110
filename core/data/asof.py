"""What every training row may know, computed straight from the interactions: the reference for Feast's join.

It shares no code with the dated states of `features.py`, so that agreement between the two proves both.
"""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from core import schemas
from core.data.features import WINDOW, as_lists, histories

FEATURES = schemas.TRAINING_ROWS.names[len(schemas.ROWS) :]


def attach(rows: pa.Table, interactions: pa.Table) -> pa.Table:
    """`rows` (all of them, two an interaction, in order) with the features of `schemas.TRAINING_ROWS`."""
    user, item, position, day = (
        interactions[name].to_numpy().astype(np.int64) for name in ("user", "item", "position", "day")
    )
    history = np.repeat(histories(user, item, position), 2, axis=0)
    target, row_day = rows["item"].to_numpy(), rows["day"].to_numpy().astype(np.int64)
    columns = {
        "history": as_lists(history),
        "activity": _log1p(np.repeat(position, 2)),
        "popularity": _log1p(_earlier(item, day, target, row_day)),
        "popularity_30d": _log1p(_earlier(item, day, target, row_day) - _earlier(item, day, target, row_day - WINDOW)),
    }
    for name, values in columns.items():
        rows = rows.append_column(name, pa.array(values))
    return rows.cast(schemas.TRAINING_ROWS)


def differences(joined: pa.Table, expected: pa.Table) -> dict[str, NDArray[np.int64]]:
    """For each feature, the row numbers where two training tables disagree; both sorted by row."""
    found = {}
    for name in FEATURES:
        left, right = _comparable(joined[name]), _comparable(expected[name])
        wrong = (left != right).reshape(len(left), -1).any(axis=1) if left.shape == right.shape else np.ones(len(right))
        if wrong.any():
            found[name] = np.flatnonzero(wrong)
    return found


def _earlier(item: NDArray, day: NDArray, target: NDArray, row_day: NDArray) -> NDArray[np.int64]:
    """How many interactions each target has on days before its row's day."""
    span = 1 << 32  # more than any day number
    events = np.sort(item * span + day)
    return np.searchsorted(events, target * span + row_day) - np.searchsorted(events, target * span - span // 2)


def _log1p(counts: NDArray[np.int64]) -> NDArray[np.float32]:
    return np.log1p(counts).astype(np.float32)


def _comparable(column: pa.ChunkedArray) -> NDArray:
    """Values as a matrix; nulls and lists of other lengths as a vector that equals nothing."""
    if not pa.types.is_list(column.type):
        return column.to_numpy(zero_copy_only=False)
    values = column.combine_chunks()
    whole = values.flatten().to_numpy(zero_copy_only=False)
    return whole.reshape(len(values), -1) if len(values) and len(whole) % len(values) == 0 else whole
