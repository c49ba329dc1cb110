"""What a tuned model may have read is kept with it, and rows that it may have read are not asked about."""

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from core.data import tables
from core.settings import Workspace
from llm import learnt

DAY = 86_400


def keys(table: pa.Table) -> set[tuple[int, int, int]]:
    return set(zip(*(table[name].to_pylist() for name in ("user", "item", "timestamp")), strict=True))


def pairs(*taken: tuple[int, int, int]) -> pa.Table:
    """Positives of these interactions (user, item, time), each with a negative."""
    rows = [
        {
            "row": 2 * number + (1 - label),
            "user": user,
            "item": item if label else 99,
            "timestamp": time,
            "label": label,
        }
        for number, (user, item, time) in enumerate(taken)
        for label in (1, 0)
    ]
    return pa.Table.from_pylist(rows)


def left(rows: pa.Table) -> Iterable[int]:
    return rows["row"].to_pylist()


def test_what_is_kept_is_what_training_rows_and_their_histories_hold(tiny: Workspace, tmp_path: Path) -> None:
    learnt.keep(tiny, tmp_path)
    kept, rows = keys(pq.read_table(tmp_path / learnt.FILE)), tables.training_rows(tiny)
    taken = rows.filter(pc.field("label") == 1)
    of = {split: keys(taken.filter(pc.field("split") == split)) for split in ("train", "valid", "test")}
    assert of["train"] <= kept
    assert of["test"] and not of["test"] & kept
    assert not of["valid"] & kept
    last = {(user, item): time for user, item, time in kept}
    assert len(last) == len(kept)


def test_without_training_rows_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path / "home"))
    learnt.keep(Workspace("movielens-100k", "published"), tmp_path)
    assert not (tmp_path / learnt.FILE).exists()


def test_a_row_that_was_read_goes_with_its_negative(tmp_path: Path) -> None:
    rows = pairs((1, 10, 5), (1, 11, 6), (2, 10, 5), (1, 10, 7))
    pq.write_table(pa.table({"user": [1], "item": [10], "timestamp": [5]}), tmp_path / learnt.FILE)
    assert left(learnt.unread(rows, tmp_path, until="1970-01-01")) == [2, 3, 4, 5, 6, 7]


def test_without_a_list_of_what_was_read_only_later_days_count(tmp_path: Path) -> None:
    rows = pairs((1, 10, DAY - 1), (1, 11, 2 * DAY - 1), (2, 10, 2 * DAY))
    assert left(learnt.unread(rows, tmp_path, until="1970-01-02")) == [4, 5]
    assert left(learnt.unread(rows, tmp_path, until="1970-01-03")) == []
    assert left(learnt.unread(rows, tmp_path, until=None)) == [0, 1, 2, 3, 4, 5], "it was tuned on no such rows"
