"""Rows of Feast's SQLite store, beside somebody who writes them."""

import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from contextvars import copy_context
from pathlib import Path

import pytest

from core import deadlines
from core.errors import Missing, Unavailable
from llmcf.online.rows import SqliteRows, Wanted
from llmcf.online.views import View, key_bytes

VIEW = View(name="profile", key="user", fields=("age",), ttl=0.0)
WANTED: Wanted = [(VIEW, [5])]


@pytest.fixture
def rows(tmp_path: Path) -> SqliteRows:
    with closing(sqlite3.connect(tmp_path / "online.db")) as made:
        made.execute('CREATE TABLE "shop_profile" (entity_key BLOB, feature_name TEXT, value BLOB, event_ts INTEGER)')
        made.execute("INSERT INTO shop_profile VALUES (?, 'age', X'07', 1000)", (key_bytes("user")(5),))
        made.commit()
    return SqliteRows(tmp_path / "online.db", "shop", "user", "llmcf features materialize")


@contextmanager
def written(tmp_path: Path) -> Iterator[None]:
    with closing(sqlite3.connect(tmp_path / "online.db")) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.rollback()


def test_a_store_that_is_being_written_keeps_no_request_beyond_its_time(rows: SqliteRows, tmp_path: Path) -> None:
    def read() -> float:
        deadlines.begin(0.3)
        start = time.monotonic()
        with pytest.raises(Unavailable, match=r"cannot be read \(database is locked"):
            rows.read(WANTED)
        return time.monotonic() - start

    ((row,),) = rows.read(WANTED)
    assert row is not None
    assert row[1] == (b"\x07",)
    with written(tmp_path), ThreadPoolExecutor(4) as threads:
        took = [one.result() for one in [threads.submit(copy_context().run, read) for _ in range(4)]]
    assert max(took) < 0.9, "none waits for another"
    assert rows.read(WANTED)[0][0] is not None


def test_who_is_in_no_hurry_waits_half_a_second(rows: SqliteRows, tmp_path: Path) -> None:
    with written(tmp_path):
        start = time.monotonic()
        with pytest.raises(Unavailable):
            rows.read(WANTED)
        assert 0.4 < time.monotonic() - start < 2


def test_a_store_that_is_not_there_names_the_verb(tmp_path: Path) -> None:
    with pytest.raises(Missing, match=r"online\.db is not there; run `llmcf features materialize` first"):
        SqliteRows(tmp_path / "online.db", "shop", "user", "llmcf features materialize")
