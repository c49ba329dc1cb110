"""What the workers of one service share: answers that may be asked for again, acts of administrators, counters.

Nothing is lost by a kill. Answers are kept for a day, and no more than a number of them; what the examples say that
they name is kept once for all of them, and outlives the release.
"""

import json
import sqlite3
import time
from collections.abc import Callable, Collection
from contextlib import closing
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any
from urllib.parse import quote

from core.errors import Unavailable
from llmcf.service.database import Database

SERVICE = "the service"  # who decides by itself, in the audit log
FILE = "service.db"
_KEPT_S = 86_400.0
_KEPT = 20_000  # answers, of about 30 kB
_WRITTEN_S = _KEPT_S / 2  # after which a process writes down anew what an example says
_BUSY_S = 1.0
_PRUNE_EVERY = 1000  # answers of one process
_SAMPLES_S = 900.0

_TABLES = """
CREATE TABLE IF NOT EXISTS answers (id TEXT PRIMARY KEY, time REAL NOT NULL, body TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS answers_by_time ON answers (time);
CREATE TABLE IF NOT EXISTS examples (
    release INTEGER NOT NULL, number INTEGER NOT NULL, time REAL NOT NULL, body TEXT NOT NULL,
    PRIMARY KEY (release, number)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS acts (time REAL NOT NULL, who TEXT NOT NULL, act TEXT NOT NULL, outcome TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS samples (time REAL PRIMARY KEY, body TEXT NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class Examples:
    """Those of a release that an answer names, by number; `tell` says what one is about, as JSON."""

    release: int
    numbers: Collection[int]
    tell: Callable[[int], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Trace:
    """What is left of an answer in a list: its request's id, when it was, and how it was made."""

    request: str
    time: float
    user: str | None
    release: int
    rung: str
    milliseconds: float


@dataclass(frozen=True, slots=True)
class Shown:
    """What one kept answer showed: raw ids of its items, best first."""

    time: float
    release: int
    items: tuple[str, ...]


def page_end(start: int, k: int, ends: Collection[int]) -> int:
    """The place behind the last of a page from `start` on: `k` further, or where a rule of `ends` has ended it."""
    return min([start + k, *(end for end in ends if end > start)])


def shown(path: Path, most: int) -> list[Shown]:
    """What the newest answers showed, newest first; none where there is no such file. Holds no writer up.

    Raises:
        Unavailable: if the file cannot be read now.
    """
    if not path.exists():
        return []
    asked = (
        "SELECT time, json_extract(body, '$.release'), json_extract(body, '$.items'), json_extract(body, '$.start'), "
        "json_extract(body, '$.k'), json_extract(body, '$.ends') FROM answers "
        "WHERE json_type(body, '$.items') = 'array' "
        "AND json_type(body, '$.k') = 'integer' ORDER BY time DESC LIMIT ?"  # another version's answers had neither
    )
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=_BUSY_S)) as connection:
            found = connection.execute(asked, (most,)).fetchall()
    except sqlite3.Error as error:
        raise Unavailable(f"{path} cannot be read now: {error}") from error
    return [
        Shown(then, release, tuple(json.loads(items)[start or 0 : page_end(start or 0, k, json.loads(ends or "[]"))]))
        for then, release, items, start, k, ends in found
    ]


class Store:
    """Safe for threads and processes; every method raises Unavailable if the file cannot be used now."""

    def __init__(self, path: Path) -> None:
        self._database = Database(path, _TABLES, durable=False, busy_s=_BUSY_S)
        self._written = 0
        self._told: dict[tuple[int, int], float] = {}  # examples, and when this process wrote down what they say

    def keep(self, request: str, body: dict[str, Any], examples: Examples | None = None) -> None:
        """An answer, under its request's id, with what its examples say; a second one of that id takes its place."""
        rows = self._untold(examples) if examples else []
        with self._database.transaction() as connection:
            connection.executemany("INSERT OR REPLACE INTO examples VALUES (?, ?, ?, ?)", rows)
            connection.execute(
                "INSERT OR REPLACE INTO answers VALUES (?, ?, ?)", (request, time.time(), json.dumps(body))
            )
            self._written += 1
            if self._written % _PRUNE_EVERY == 0:
                self._prune(connection)
        self._told |= {(release, number): then for release, number, then, _ in rows}

    def answer(self, request: str) -> dict[str, Any] | None:
        """What was answered to a request, None if it is not kept."""
        with self._database.transaction() as connection:
            found = connection.execute("SELECT body FROM answers WHERE id = ?", (request,)).fetchone()
        return json.loads(found[0]) if found else None

    def examples(self, release: int, numbers: Collection[int]) -> dict[int, dict[str, Any]]:
        """What examples of a release say, as far as it is kept."""
        asked = "SELECT number, body FROM examples WHERE release = ? AND number IN (SELECT value FROM json_each(?))"
        with self._database.transaction() as connection:
            found = connection.execute(asked, (release, json.dumps(sorted(numbers)))).fetchall()
        return {number: json.loads(body) for number, body in found}

    def last(self, count: int) -> list[Trace]:
        """The newest answers of all workers, newest first."""
        asked = (
            "SELECT id, time, json_extract(body, '$.user'), json_extract(body, '$.release'), "
            "json_extract(body, '$.rung'), json_extract(body, '$.milliseconds') FROM answers ORDER BY time DESC LIMIT ?"
        )
        with self._database.transaction() as connection:
            found = connection.execute(asked, (count,)).fetchall()
        return [
            Trace(request, then, user, release, rung, sum(json.loads(stages).values()))
            for request, then, user, release, rung, stages in found
        ]

    def sample(self, counters: dict[str, float], *, first: bool = False) -> None:
        """Keep what counters say now, for a quarter of an hour; with `first`, earlier ones are another service's."""
        now = time.time()
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM samples WHERE time < ?", (now + 1 if first else now - _SAMPLES_S,))
            connection.execute("INSERT OR REPLACE INTO samples VALUES (?, ?)", (now, json.dumps(counters)))

    def sampled(self, seconds: float) -> tuple[float, dict[str, float]] | None:
        """The oldest sample that is no older than `seconds`, with its time; None if there is none."""
        asked = "SELECT time, body FROM samples WHERE time >= ? ORDER BY time LIMIT 1"
        with self._database.transaction() as connection:
            found = connection.execute(asked, (time.time() - seconds,)).fetchone()
        return (found[0], json.loads(found[1])) if found else None

    def note(self, who: str, act: str, outcome: str) -> int:
        """A line of the audit log; its number, for `settle`."""
        with self._database.transaction() as connection:
            made = connection.execute("INSERT INTO acts VALUES (?, ?, ?, ?)", (time.time(), who, act, outcome))
        assert made.lastrowid is not None
        return made.lastrowid

    def settle(self, number: int, outcome: str) -> None:
        """Say in a line of the audit log what came of the act."""
        with self._database.transaction() as connection:
            connection.execute("UPDATE acts SET outcome = ? WHERE rowid = ?", (outcome, number))

    def acts(self, count: int = 100, *, who: str | None = None) -> list[tuple[float, str, str, str]]:
        """The newest lines of the audit log, newest first; those of one name or all."""
        asked = "SELECT * FROM acts WHERE ?1 IS NULL OR who = ?1 ORDER BY time DESC LIMIT ?2"
        with self._database.transaction() as connection:
            return connection.execute(asked, (who, count)).fetchall()

    def _untold(self, examples: Examples) -> list[tuple[int, int, float, str]]:
        """Rows of those that this process has not written lately."""
        now, release = time.time(), examples.release
        new = [one for one in examples.numbers if now - self._told.get((release, one), -inf) > _WRITTEN_S]
        return [(release, one, now, json.dumps(examples.tell(one))) for one in new]

    def _prune(self, connection: sqlite3.Connection) -> None:
        longest = time.time() - _KEPT_S - _WRITTEN_S  # an answer may be that much younger than its example's row
        self._told = {one: then for one, then in dict(self._told).items() if then > longest}
        connection.execute("DELETE FROM examples WHERE time < ?", (longest,))
        connection.execute("DELETE FROM answers WHERE time < ?", (time.time() - _KEPT_S,))
        connection.execute(
            "DELETE FROM answers WHERE time < (SELECT time FROM answers ORDER BY time DESC LIMIT 1 OFFSET ?)", (_KEPT,)
        )
