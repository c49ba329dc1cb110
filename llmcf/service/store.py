"""What the workers of one service share: answers that may be asked for again, acts of administrators, counters.

Nothing is lost by a kill. Answers are kept for a day, and no more than a number of them.
"""

import json
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from core.errors import Unavailable
from llmcf.service.database import Database

SERVICE = "the service"  # who decides by itself, in the audit log
FILE = "service.db"
_KEPT_S = 86_400.0
_KEPT = 20_000  # answers, of about 30 kB
_BUSY_S = 1.0
_PRUNE_EVERY = 1000  # answers of one process
_SAMPLES_S = 900.0

_TABLES = """
CREATE TABLE IF NOT EXISTS answers (id TEXT PRIMARY KEY, time REAL NOT NULL, body TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS answers_by_time ON answers (time);
CREATE TABLE IF NOT EXISTS acts (time REAL NOT NULL, who TEXT NOT NULL, act TEXT NOT NULL, outcome TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS samples (time REAL PRIMARY KEY, body TEXT NOT NULL);
"""


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


def shown(path: Path, most: int) -> list[Shown]:
    """What the newest answers showed, newest first; none where there is no such file. Holds no writer up.

    Raises:
        Unavailable: if the file cannot be read now.
    """
    if not path.exists():
        return []
    asked = (
        "SELECT time, json_extract(body, '$.release'), json_extract(body, '$.items'), json_extract(body, '$.start'), "
        "json_extract(body, '$.k') FROM answers WHERE json_type(body, '$.items') = 'array' "
        "AND json_type(body, '$.k') = 'integer' ORDER BY time DESC LIMIT ?"  # another version's answers had neither
    )
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=_BUSY_S)) as connection:
            found = connection.execute(asked, (most,)).fetchall()
    except sqlite3.Error as error:
        raise Unavailable(f"{path} cannot be read now: {error}") from error
    return [
        Shown(then, release, tuple(json.loads(items)[start or 0 : (start or 0) + k]))
        for then, release, items, start, k in found
    ]


class Store:
    """Safe for threads and processes; every method raises Unavailable if the file cannot be used now."""

    def __init__(self, path: Path) -> None:
        self._database = Database(path, _TABLES, durable=False, busy_s=_BUSY_S)
        self._written = 0

    def keep(self, request: str, body: dict[str, Any]) -> None:
        """An answer, under its request's id; a second one of that id takes its place."""
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO answers VALUES (?, ?, ?)", (request, time.time(), json.dumps(body))
            )
            self._written += 1
            if self._written % _PRUNE_EVERY == 0:
                self._prune(connection)

    def answer(self, request: str) -> dict[str, Any] | None:
        """What was answered to a request, None if it is not kept."""
        with self._database.transaction() as connection:
            found = connection.execute("SELECT body FROM answers WHERE id = ?", (request,)).fetchone()
        return json.loads(found[0]) if found else None

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

    def note(self, who: str, act: str, outcome: str) -> None:
        """A line of the audit log."""
        with self._database.transaction() as connection:
            connection.execute("INSERT INTO acts VALUES (?, ?, ?, ?)", (time.time(), who, act, outcome))

    def acts(self, count: int = 100, *, who: str | None = None) -> list[tuple[float, str, str, str]]:
        """The newest lines of the audit log, newest first; those of one name or all."""
        asked = "SELECT * FROM acts WHERE ?1 IS NULL OR who = ?1 ORDER BY time DESC LIMIT ?2"
        with self._database.transaction() as connection:
            return connection.execute(asked, (who, count)).fetchall()

    def _prune(self, connection: sqlite3.Connection) -> None:
        connection.execute("DELETE FROM answers WHERE time < ?", (time.time() - _KEPT_S,))
        connection.execute(
            "DELETE FROM answers WHERE time < (SELECT time FROM answers ORDER BY time DESC LIMIT 1 OFFSET ?)", (_KEPT,)
        )
