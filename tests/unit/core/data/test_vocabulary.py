import multiprocessing

import pytest

from core.contracts import FIRST_ID
from core.data import vocabulary


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path))


def test_old_rows_keep_their_numbers():
    first = vocabulary.grow("shop", "users", ["b", "a", "b"])
    assert first == {"b": FIRST_ID, "a": FIRST_ID + 1}
    assert vocabulary.grow("shop", "users", ["z", "a"]) == first | {"z": FIRST_ID + 2}
    assert vocabulary.load("shop", "users")["version"].to_pylist() == [1, 1, 2]


def test_rows_can_be_told_before_they_are_given():
    vocabulary.grow("shop", "users", ["a", "b"])
    assert vocabulary.numbered("shop", "users", ["b", "c", "d", "c"]) == {"a": 2, "b": 3, "c": 4, "d": 5}
    assert vocabulary.rows("shop", "users") == {"a": 2, "b": 3}


def test_nothing_new_is_no_new_version():
    for raw_id in ("a", "a", "b"):
        vocabulary.grow("shop", "items", [raw_id])
    assert vocabulary.load("shop", "items")["version"].to_pylist() == [1, 2]
    assert vocabulary.rows("shop", "brands") == {}


def _grow(prefix: str) -> None:
    for number in range(20):
        vocabulary.grow("shop", "users", [f"{prefix}{number}"])


def test_processes_do_not_lose_each_others_rows():
    workers = [multiprocessing.get_context("fork").Process(target=_grow, args=(prefix,)) for prefix in "ab"]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    known = vocabulary.rows("shop", "users")
    assert sorted(known.values()) == list(range(FIRST_ID, FIRST_ID + 40))
