"""Metrics of clicks by segment."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from core import metrics
from core.data import tables
from core.settings import Workspace
from ranking.segments import SEGMENTS, measure


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
