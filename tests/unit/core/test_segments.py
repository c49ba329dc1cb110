"""Segments of rows by hand."""

import numpy as np
import pyarrow as pa

from core.contracts import HISTORY
from core.data.asof import NEVER
from core.segments import COLD, SEGMENTS


def rows_of(lengths: list[int], ages: list[float], takings: list[int]) -> pa.Table:
    histories = [[0] * (HISTORY - length) + [9] * length for length in lengths]
    age = [NEVER if days < 0 else np.log1p(days) for days in ages]
    columns = {"history": histories, "item_age": age, "popularity": np.log1p(takings)}
    return pa.table(columns).cast(
        pa.schema([("history", pa.list_(pa.int64())), ("item_age", pa.float32()), ("popularity", pa.float32())])
    )


def test_who_belongs_to_which_segment() -> None:
    rows = rows_of([0, 4, 5, 9, 10, 20, 1, 1], [-1, 0, 29, 30, 31, 400, 400, 400], [0, 1, 2, 3, 4, 5, 6, 7])
    found = {name: np.flatnonzero(segment(rows)).tolist() for name, segment in SEGMENTS.items()}
    assert found == {
        "history of 0-4": [0, 1, 6, 7],
        "history of 5-9": [2, 3],
        "history of 10 and more": [4, 5],
        "new items": [0, 1, 2],
        "older items": [3, 4, 5, 6, 7],
        "popular items": [6, 7],
        "less popular items": [0, 1, 2, 3, 4, 5],
    }


def test_what_no_training_row_has_is_cold() -> None:
    every = pa.table(
        {
            "split": ["train", "train", "valid", "test", "test", "test"],
            "label": [1, 0, 1, 1, 1, 1],
            "user": [2, 2, 3, 2, 3, 4],
            "item": [5, 6, 7, 5, 6, 7],  # 6 is a negative of training, 7 is taken on validation alone
        }
    )
    test = every.slice(3)
    found = {name: segment(test, every).tolist() for name, segment in COLD.items()}
    assert found == {
        "items without training rows": [False, True, True],
        "users without training rows": [False, True, True],
    }
