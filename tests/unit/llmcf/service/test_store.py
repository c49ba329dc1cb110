"""What workers share: kept answers and their traces, the audit log, samples of counters."""

import os
import sqlite3
import stat
import time
from collections.abc import Iterator
from contextlib import closing
from contextvars import copy_context
from pathlib import Path

import pytest

from core import deadlines
from core.errors import Unavailable
from llmcf.service.store import Examples, Shown, Store, shown


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "service.db")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr("llmcf.service.store.time.time", lambda: now[0])
    return now


def body(user: str | None, rung: str = "full") -> dict[str, object]:
    return {"user": user, "release": 3, "rung": rung, "milliseconds": {"a": 1.5, "b": 2.0}, "items": ["i"]}


def test_a_file_that_cannot_be_used_is_told_as_such_and_works_again_afterwards(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "service.db"
    other = sqlite3.connect(path)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(Unavailable, match=r"service\.db cannot be used now: database is locked"):
        store.keep("r1", body("a"))
    other.rollback()
    other.close()
    store.keep("r1", body("a"))
    assert store.answer("r1") == body("a")


def test_a_file_that_another_holds_keeps_no_answer_from_leaving_in_time(store: Store, tmp_path: Path) -> None:
    def keep() -> float:
        deadlines.begin(0.2)
        start = time.monotonic()
        with pytest.raises(Unavailable, match="database is locked"):
            store.keep("r2", body("a"))
        return time.monotonic() - start

    store.keep("r1", body("a"))
    with closing(sqlite3.connect(tmp_path / "service.db")) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert copy_context().run(keep) < 0.9
        start = time.monotonic()
        with pytest.raises(Unavailable):
            store.keep("r1", body("a"))
        assert time.monotonic() - start > 0.9, "who is in no hurry waits as before"


@pytest.fixture
def open_to_all() -> Iterator[None]:
    before = os.umask(0o000)
    yield
    os.umask(before)


@pytest.mark.usefixtures("open_to_all")
def test_what_people_did_is_nobody_else_s_to_read(tmp_path: Path) -> None:
    path = tmp_path / "service.db"
    with closing(sqlite3.connect(path)) as older:  # as a version made it that left the log to everybody
        older.execute("PRAGMA journal_mode=WAL")
        older.execute("CREATE TABLE something (one)")
        assert rights(tmp_path) == dict.fromkeys(("service.db", "service.db-shm", "service.db-wal"), 0o644)
        Store(path).keep("r1", body("a"))
        assert set(rights(tmp_path).values()) == {0o600}
    fresh = tmp_path / "fresh"
    Store(fresh / "service.db").keep("r1", body("a"))
    assert rights(fresh) == dict.fromkeys(("service.db", "service.db-shm", "service.db-wal"), 0o600)


def rights(folder: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in sorted(folder.iterdir()) if path.is_file()}


def test_the_newest_answers_leave_a_trace(store: Store, clock: list[float]) -> None:
    for number, who in enumerate(("a", None, '"><script>')):
        clock[0] += 1
        store.keep(f"r{number}", body(who, "popular" if who is None else "full"))
    found = store.last(2)
    assert [(one.request, one.user, one.rung, one.release) for one in found] == [
        ("r2", '"><script>', "full", 3),
        ("r1", None, "popular", 3),
    ]
    assert found[0].milliseconds == 3.5
    assert found[0].time == 1003.0


def test_samples_are_kept_for_a_while(store: Store, clock: list[float]) -> None:
    assert store.sampled(300) is None
    for clock[0] in (1000.0, 1200.0, 1400.0):
        store.sample({"at": clock[0]})
    assert store.sampled(300) == (1200.0, {"at": 1200.0})
    assert store.sampled(1) == (1400.0, {"at": 1400.0})
    clock[0] = 2200.0
    store.sample({"at": clock[0]})
    assert store.sampled(10_000) == (1400.0, {"at": 1400.0})
    store.sample({"at": -1.0}, first=True)
    assert store.sampled(10_000) == (2200.0, {"at": -1.0})


def test_the_audit_log_is_newest_first(store: Store, clock: list[float]) -> None:
    for act in ("one", "two"):
        clock[0] += 1
        store.note("anna", act, "accepted")
    assert store.acts(1) == [(1002.0, "anna", "two", "accepted")]


def test_what_answers_showed_is_read_beside_a_writer(store: Store, clock: list[float], tmp_path: Path) -> None:
    path = tmp_path / "service.db"
    for number, (start, k, ends) in enumerate(((0, 2, []), (2, 2, []), (0, 9, []), (0, 2, [1, 3]))):
        clock[0] += 1
        capped = {"ends": ends} if ends else {}  # those of an earlier version have none
        store.keep(f"r{number}", {"release": 3, "items": ["a", "b", "c"], "start": start, "k": k, **capped})
    store.keep("of another version", body("a"))
    writing = sqlite3.connect(path)
    writing.execute("BEGIN IMMEDIATE")
    found = shown(path, 4)
    assert found == [
        Shown(1004.0, 3, ("a",)),
        Shown(1003.0, 3, ("a", "b", "c")),
        Shown(1002.0, 3, ("c",)),
        Shown(1001.0, 3, ("a", "b")),
    ]
    assert [one.time for one in shown(path, 1)] == [1004.0]
    writing.rollback()
    writing.close()


def test_nothing_was_shown_where_there_is_no_service(tmp_path: Path) -> None:
    assert shown(tmp_path / "service.db", 10) == []
    assert not list(tmp_path.iterdir())
    (tmp_path / "service.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(Unavailable, match=r"service\.db cannot be read now"):
        shown(tmp_path / "service.db", 10)


def test_what_examples_say_is_kept_as_long_as_answers_that_name_them(
    store: Store, tmp_path: Path, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process's too; and what is said in every hour is not written in every hour."""
    monkeypatch.setattr("llmcf.service.store._PRUNE_EVERY", 1)
    told: list[int] = []

    def keep(request: str, *numbers: int) -> None:
        store.keep(request, body("a"), Examples(3, numbers, lambda one: told.append(one) or {"text": f"why {one}"}))

    keep("r1", 1, 2)
    for hour in range(1, 48):
        clock[0] += 3600
        keep(f"r{hour}", 2)
    assert told == [1, 2, 2, 2, 2]
    assert Store(tmp_path / "service.db").examples(3, [1, 2]) == {2: {"text": "why 2"}}
