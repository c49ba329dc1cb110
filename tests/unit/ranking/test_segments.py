"""Segments of the test rows by hand."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from core import metrics
from core.contracts import HISTORY
from core.data import tables
from core.data.asof import NEVER
from core.settings import Workspace
from ranking.segments import SEGMENTS, measure


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
        "history of 10 and more": [4, 5],
        "new items": [0, 1, 2],
        "popular items": [6, 7],
    }


def test_a_segment_is_measured_on_its_own_test_rows(own: Workspace, tmp_path: Path) -> None:
    rows = tables.training_rows(own)
    of_split = {split: rows.filter(pa.array(rows["split"].to_numpy() == split)) for split in ("valid", "test")}
    drawn = np.random.default_rng(1)
    parts = [
        pa.table({"row": of["row"], "split": of["split"], "label": of["label"], "score": drawn.random(len(of))})
        for of in of_split.values()
    ]
    pq.write_table(pa.concat_tables(parts), tmp_path / "scores.parquet")
    found = measure(own, tmp_path / "scores.parquet")
    test, score = of_split["test"], parts[1]["score"].to_numpy()
    assert found
    for name, measured in found.items():
        at = SEGMENTS[name](test)
        assert measured["rows"] == at.sum()
        assert measured["auc"] == metrics.auc(test["label"].to_numpy()[at], score[at])
    for name in set(SEGMENTS) - set(found):
        assert len(np.unique(test["label"].to_numpy()[SEGMENTS[name](test)])) < 2
