"""Files and folders appear whole, whoever else writes the same one."""

import threading
from pathlib import Path

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
