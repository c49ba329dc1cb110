"""Files and folders appear whole, whoever else writes the same one."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core import storage


def test_two_threads_write_one_file_without_meeting(tmp_path: Path) -> None:
    path, barrier = tmp_path / "file", threading.Barrier(2)
    failed: list[BaseException] = []

    def write(text: str) -> None:
        try:
            with storage.atomic_path(path) as beside:
                barrier.wait(10)
                beside.write_text(text)
                barrier.wait(10)
                assert beside.read_text() == text
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=write, args=(letter * 1000,)) for letter in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert path.read_text() in {"a" * 1000, "b" * 1000}
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_replaces_the_old_one_whole(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    for name in ("old", "new"):
        with storage.atomic_folder(folder) as beside:
            (beside / name).touch()
    assert [path.name for path in folder.iterdir()] == ["new"]
    storage.remove(folder)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_replaced_is_there_at_every_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "folder"
    with storage.atomic_folder(folder):
        pass
    monkeypatch.setattr(storage, "_replace", lambda *_: pytest.fail("this file system can exchange"))
    with storage.atomic_folder(folder) as beside:
        (beside / "new").touch()
    assert [path.name for path in folder.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize("fails", [False, True])
def test_where_folders_cannot_change_places_the_old_one_comes_back_on_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    folder, rename = tmp_path / "folder", Path.replace
    with storage.atomic_folder(folder) as beside:
        (beside / "old").touch()

    def replace(self: Path, target: Path) -> Path:
        if fails and self.suffix == ".tmp":
            raise PermissionError(str(self))
        return rename(self, target)

    monkeypatch.setattr(storage, "_exchange", lambda *_: False)
    monkeypatch.setattr(Path, "replace", replace)
    try:
        with storage.atomic_folder(folder) as beside:
            (beside / "new").touch()
    except PermissionError:
        assert fails
    assert [path.name for path in folder.iterdir()] == (["old"] if fails else ["new"])
    assert list(tmp_path.iterdir()) == [folder]


def test_a_table_can_be_read_while_it_is_replaced(tmp_path: Path):
    """As requests read what a writer replaces twenty times a second."""
    path, stop = tmp_path / "table.parquet", threading.Event()
    schema = pa.schema([("raw_id", pa.string()), ("row", pa.int64())])

    def write(count: int) -> None:
        columns = {"raw_id": [f"r{number}" for number in range(count)], "row": list(range(count))}
        storage.write_table(path, pa.table(columns), schema)

    def keep_writing() -> None:
        count = 1000
        while not stop.is_set():
            write(count := count + 7)

    write(1000)
    writer = threading.Thread(target=keep_writing)
    writer.start()
    try:
        end = time.monotonic() + 2
        while time.monotonic() < end:
            found = storage.parquet(path)
            assert found["row"][-1].as_py() == found.num_rows - 1
            assert storage.read_table(path, schema, "").num_rows >= 1000
    finally:
        stop.set()
        writer.join()


def test_parts_of_a_table_are_written_as_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    schema = pa.schema([("number", pa.int64()), ("words", pa.list_(pa.string()))])
    table = pa.table({"words": [["a"] * (n % 3) for n in range(1000)], "number": range(1000)})
    storage.write_table(tmp_path / "whole.parquet", table, schema)
    parts = [table.slice(start, 70) for start in range(0, 1000, 70)]
    assert storage.write_parts(tmp_path / "parts.parquet", parts, schema) == 1000
    assert (tmp_path / "parts.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    monkeypatch.setattr(storage, "_GROUP", 128)
    assert storage.write_parts(tmp_path / "groups.parquet", iter(parts), schema) == 1000
    with pq.ParquetFile(tmp_path / "groups.parquet") as opened:
        assert [opened.metadata.row_group(n).num_rows for n in range(opened.num_row_groups)] == [128] * 7 + [104]
        assert opened.read().equals(table.select(schema.names).cast(schema))
    assert storage.write_parts(tmp_path / "empty.parquet", [], schema) == 0
    assert storage.read_table(tmp_path / "empty.parquet", schema, "").num_rows == 0


def test_parts_that_fail_leave_nothing(tmp_path: Path) -> None:
    def broken() -> Iterator[pa.Table]:
        yield pa.table({"number": [1]})
        raise ValueError

    with pytest.raises(ValueError):
        storage.write_parts(tmp_path / "x.parquet", broken(), pa.schema([("number", pa.int64())]))
    assert list(tmp_path.iterdir()) == []


def test_the_digest_of_values_does_not_see_how_they_are_laid_out(tmp_path: Path) -> None:
    schema = pa.schema([("row", pa.int64()), ("history", pa.list_(pa.int64())), ("score", pa.float32())])
    table = pa.table([[1, 2, 3], [[1], [], [2, 3]], [0.5, None, 1.0]], schema=schema)
    whole, pieces, other = (tmp_path / f"{name}.parquet" for name in ("whole", "pieces", "other"))
    pq.write_table(table, whole)
    pq.write_table(pa.concat_tables([table.slice(0, 1), table.slice(1)]), pieces, compression="zstd", row_group_size=1)
    pq.write_table(table.set_column(0, "row", pa.array([1, 2, 4])), other)
    assert storage.sha256(whole) != storage.sha256(pieces)
    assert storage.values_digest(whole) == storage.values_digest(pieces)
    assert storage.values_digest(whole) != storage.values_digest(other)
