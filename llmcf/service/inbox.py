"""What was accepted and is to be applied: table `intake` of the service's SQLite, in the order of acceptance.

A worker's answer follows the commit, which is on the disk by then, so that nothing accepted is lost; the writer marks
what it has applied, and applying twice is applying once, so that a kill between the two does no harm. Clicks and views
have nothing to be applied; they stay, with the place of the item in the answer that showed it.
"""

import json
import sqlite3
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmcf.service.database import Database

EVENT, ITEM, USER = KINDS = "event", "item", "user"
ACCEPTED, DUPLICATE, OTHER = "accepted", "duplicate", "other"
NOT_SHOWN = -1  # in `place`: the answer is there, and the item is not among what it showed
_KEPT_S = 90 * 86_400.0  # of events, after they were applied
_BUSY_S = 5.0

_TABLES = """
CREATE TABLE IF NOT EXISTS intake (
    number INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, id TEXT NOT NULL, said TEXT NOT NULL,
    body TEXT NOT NULL, request TEXT, place INTEGER, time REAL NOT NULL, applied REAL, outcome TEXT, UNIQUE (kind, id));
CREATE INDEX IF NOT EXISTS intake_waiting ON intake (kind, number) WHERE applied IS NULL;
CREATE INDEX IF NOT EXISTS intake_applied ON intake (applied) WHERE kind = 'event';
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What a worker has judged and would keep.

    Args:
        said: what tells whether the same id comes with the same content.
        request, place: of the answer that showed the item; its place there from 0, NOT_SHOWN, or None where no answer
            is kept.
        waits: whether there is something to be applied.
    """

    kind: str
    id: str
    said: Any
    body: dict[str, Any]
    request: str | None = None
    place: int | None = None
    waits: bool = True


@dataclass(frozen=True, slots=True)
class Entry:
    """Something accepted, at `time` in Unix seconds."""

    number: int
    kind: str
    id: str
    body: dict[str, Any]
    time: float


class Inbox:
    """Safe for threads and processes; every method raises Unavailable if the file cannot be used now."""

    def __init__(self, path: Path) -> None:
        self.database = Database(path, _TABLES, durable=True, busy_s=_BUSY_S)

    def offer(self, offers: Sequence[Offer], *, whole: bool = False) -> list[str]:
        """Keep what is new; for each offer ACCEPTED, DUPLICATE, or OTHER where its id has come with other content.

        Args:
            whole: keep nothing if one of them is OTHER.
        """
        with self.database.transaction() as connection:
            found = [self._insert(connection, one) for one in offers]
            if whole and OTHER in found:
                connection.rollback()
        return found

    def waiting(self, kind: str, count: int) -> list[Entry]:
        """The first that are not applied."""
        query = (
            "SELECT number, kind, id, body, time FROM intake WHERE applied IS NULL AND kind = ? ORDER BY number LIMIT ?"
        )
        rows = self._rows(query, (kind, count))
        return [Entry(number, kind, id, json.loads(body), time) for number, kind, id, body, time in rows]

    def backlog(self, most: int) -> int:
        """How many are not applied, counted up to `most`."""
        query = "SELECT COUNT(*) FROM (SELECT 1 FROM intake WHERE applied IS NULL LIMIT ?)"
        return self._rows(query, (most,))[0][0]

    def applied(self, entries: Iterable[Entry], outcomes: Iterable[str]) -> None:
        """Note what became of entries."""
        now = time.time()
        rows = [(now, outcome, entry.number) for entry, outcome in zip(entries, outcomes, strict=True)]
        with self.database.transaction() as connection:
            connection.executemany("UPDATE intake SET applied = ?, outcome = ? WHERE number = ?", rows)

    def has(self, kind: str, id: str) -> bool:
        """Whether it was ever accepted; events are forgotten after three months."""
        query = "SELECT 1 FROM intake WHERE kind = ? AND id = ?"
        return bool(self._rows(query, (kind, id)))

    def feedback(self, after: int = 0, count: int = 10_000) -> list[dict[str, Any]]:
        """Events with what showed their item, oldest first: `number`, `id`, `kind`, `user`, `item`, `timestamp`,
        `request` and `place`, see `Offer`; where that answer is kept, its `experiment`, `arm` and `release`."""
        query = (
            "SELECT number, id, body, request, place FROM intake WHERE kind = 'event' AND number > ? ORDER BY number"
            " LIMIT ?"
        )
        rows = self._rows(query, (after, count))
        return [
            {"number": number, "id": id, **json.loads(body), "request": request, "place": place}
            for number, id, body, request, place in rows
        ]

    def prune(self) -> None:
        """Forget old events that were applied."""
        with self.database.transaction() as connection:
            connection.execute("DELETE FROM intake WHERE kind = 'event' AND applied < ?", (time.time() - _KEPT_S,))

    def _rows(self, query: str, parameters: tuple[Any, ...]) -> list[Any]:
        with self.database.transaction() as connection:
            return connection.execute(query, parameters).fetchall()

    def _insert(self, connection: sqlite3.Connection, one: Offer) -> str:
        now, said = time.time(), json.dumps(one.said, sort_keys=True)
        row = (one.kind, one.id, said, json.dumps(one.body), one.request, one.place, now, None if one.waits else now)
        made = connection.execute(
            "INSERT OR IGNORE INTO intake (kind, id, said, body, request, place, time, applied)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            row,
        )
        if made.rowcount:
            return ACCEPTED
        found = connection.execute("SELECT said FROM intake WHERE kind = ? AND id = ?", (one.kind, one.id)).fetchone()
        return DUPLICATE if found[0] == said else OTHER
