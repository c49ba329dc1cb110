"""The sample of served features: by request, bounded, of known users only, written whatever happens."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from core.contracts import DENSE, HISTORY
from llmcf.service import served_log
from llmcf.service.served_log import ServedLog
from llmcf.serving.question import Person, Ranking

STATE = {"history": [0] * (HISTORY - 1) + [7], "activity": float(np.log1p(1))}


def ranking(count: int = 4, *, row: int | None = 5) -> Ranking:
    person = Person(row=row, user=5, history_L=np.zeros(HISTORY, dtype=np.int64), state=STATE)
    dense_CX = np.arange(count * len(DENSE), dtype=np.float32).reshape(count, -1)
    return Ranking(person=person, item_C=np.arange(count) + 2, score_C=np.linspace(1, 0, count), dense_CX=dense_CX)


def test_what_was_shown_of_sampled_requests_is_kept(tmp_path: Path) -> None:
    log = ServedLog(tmp_path, share=1.0)
    log.offer("r1", 3, 9000, ranking(2), reads_dense=True)
    log.offer("r2", 3, 9000, ranking(2, row=None), reads_dense=True)
    log.close()
    found = served_log.read(tmp_path).to_pylist()
    assert [(one["request"], one["release"], one["day"], one["user"], one["item"]) for one in found] == [
        ("r1", 3, 9000, 5, 2),
        ("r1", 3, 9000, 5, 3),
    ]
    assert found[1]["dense"] == list(range(len(DENSE), 2 * len(DENSE)))
    assert found[0]["history"] == STATE["history"]
    assert {one["position"] for one in found} == {1}
    log = ServedLog(tmp_path, share=1.0)
    log.offer("r3", 4, 9000, ranking(1), reads_dense=False)
    log.close()
    (last,) = served_log.read(tmp_path).to_pylist()[2:]
    assert (last["dense"], last["history"], last["position"]) == (None, STATE["history"], 1)


def test_a_share_of_the_requests_is_sampled_whatever_they_are_called(tmp_path: Path) -> None:
    log = ServedLog(tmp_path, share=0.2)
    for _ in range(1000):
        log.offer("always the same", 1, 1, ranking(1), reads_dense=True)
    log.close()
    assert 130 < served_log.read(tmp_path).num_rows < 270


def test_a_file_is_written_when_it_has_enough_rows_or_is_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served_log, "_LOOK_EVERY_S", 0.02)
    monkeypatch.setattr(served_log, "_ROWS", 4)

    def files(within_s: float) -> int:
        end = time.monotonic() + within_s
        while not (found := list((tmp_path / "served").glob("*.parquet"))) and time.monotonic() < end:
            time.sleep(0.01)
        return len(found)

    log = ServedLog(tmp_path, share=1.0)
    log.offer("r1", 1, 1, ranking(3), reads_dense=True)
    assert files(0.3) == 0, "of a few rows no file of their own"
    log.offer("r2", 1, 1, ranking(1), reads_dense=True)
    assert files(10) == 1
    for path in (tmp_path / "served").iterdir():
        path.unlink()
    monkeypatch.setattr(served_log, "_SECONDS", 0.1)
    log.offer("r3", 1, 1, ranking(1), reads_dense=True)
    assert files(10) == 1
    log.close()


def test_a_file_that_goes_while_it_is_read_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(2):
        log = ServedLog(tmp_path, share=1.0)
        log.offer(f"r{number}", 1, 1, ranking(1), reads_dense=True)
        log.close()
    first, _ = sorted((tmp_path / "served").iterdir())
    read = pq.read_table

    def removed(path: Path, **options: Any) -> Any:
        first.unlink(missing_ok=True)
        return read(path, **options)

    monkeypatch.setattr(served_log.pq, "read_table", removed)
    assert served_log.read(tmp_path)["request"].to_pylist() == ["r1"]


def test_the_oldest_files_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served_log, "KEPT", 2)
    for number in range(4):
        log = ServedLog(tmp_path, share=1.0)
        log.offer(f"r{number}", 1, 1, ranking(1), reads_dense=True)
        log.close()
    assert served_log.read(tmp_path)["request"].to_pylist() == ["r2", "r3"]


def test_a_folder_that_cannot_be_written_stops_nobody(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "served").write_text("a file")
    log = ServedLog(tmp_path, share=1.0)
    log.offer("r1", 1, 1, ranking(), reads_dense=True)
    log.close()
    assert "is not written" in capsys.readouterr().err
