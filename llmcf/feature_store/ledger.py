"""What was pushed to a data set, under raw ids: `<home>/<dataset>/pushed/events.parquet`.

It belongs to the data set, not to a workspace: a pushed event counts in the workspace that took it and in all later
ones, until the raw files hold it. `taken_of` tells what a user has taken, in the prepared data or pushed since.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from filelock import FileLock
from numpy.typing import NDArray

from core import settings, storage
from core.data import tables, vocabulary
from core.data.events import Event
from core.settings import LATEST, Workspace
from core.storage import Stamp

SCHEMA = pa.schema(
    [
        ("user", pa.string()),
        ("item", pa.string()),
        ("timestamp", pa.int64()),
        ("as_of", pa.string()),  # of the workspace that took it
    ]
)
Items = NDArray[np.int64]
_NOTHING = np.empty(0, dtype=np.int64)


def path(ws: Workspace) -> Path:
    return settings.home() / ws.dataset / "pushed" / "events.parquet"


def locked(ws: Workspace) -> FileLock:
    """One process at a time adds to it."""
    path(ws).parent.mkdir(parents=True, exist_ok=True)
    return FileLock(path(ws).with_name(".events.lock"))


def events(ws: Workspace) -> list[Event]:
    """The events that count in this workspace, in the order they were taken.

    Those are the ones that it or an earlier workspace took, and those that happened before its end. What the prepared
    data holds by now is still among them.
    """
    columns = (_counting(ws)[name].to_pylist() for name in ("user", "item", "timestamp"))
    return [Event(*row) for row in zip(*columns, strict=True)]


def _counting(ws: Workspace) -> pa.Table:
    """The rows of `events`."""
    if not path(ws).exists():
        return SCHEMA.empty_table()
    everything = pq.read_table(path(ws))
    if ws.as_of == LATEST:
        return everything
    end = int(datetime.fromisoformat(ws.as_of).replace(tzinfo=UTC).timestamp())
    # Days in ISO form sort as text, and "latest" comes after all of them.
    return everything.filter((pc.field("timestamp") < end) | (pc.field("as_of") <= ws.as_of))


def add(ws: Workspace, new: Iterable[Event]) -> None:
    """Keep what this workspace took; the caller holds the lock."""
    rows = [{"user": one.user, "item": one.item, "timestamp": one.timestamp, "as_of": ws.as_of} for one in new]
    if rows:
        kept = pq.read_table(path(ws)) if path(ws).exists() else SCHEMA.empty_table()
        storage.write_table(path(ws), pa.concat_tables([kept, pa.Table.from_pylist(rows, schema=SCHEMA)]), SCHEMA)


class Tally:
    """What tells whether the events that count have changed; it grows with them.

    `newest` is the latest time among them; `digest` None without any.
    """

    def __init__(self, counting: Iterable[Event] = ()) -> None:
        self.count, self.newest, self._hash = 0, 0, hashlib.sha256()
        self.add(counting)

    def add(self, new: Iterable[Event]) -> None:
        for one in new:
            self._hash.update(storage.digest(one.user, one.item, one.timestamp).encode())
            self.count, self.newest = self.count + 1, max(self.newest, one.timestamp)

    @property
    def digest(self) -> str | None:
        return self._hash.hexdigest() if self.count else None


def taken_of(ws: Workspace, user: int) -> Items:
    """The item rows that a user (a row of the vocabulary) has ever taken, ascending: before `as_of`, or pushed since.

    Cheap enough for every request: the tables are read again only when a file has changed.

    Raises:
        LlmcfError: if the data is not prepared.
    """
    return _taken(ws).of(user)


def taken(ws: Workspace) -> dict[int, Items]:
    """The same of every user who has taken anything."""
    found = _taken(ws)
    users = {*np.unique(found.user).tolist(), *found.pushed}
    return {user: found.of(user) for user in sorted(users)}


@dataclass(frozen=True, slots=True)
class _Taken:
    """Interactions sorted by user, and what was pushed of each user."""

    stamps: tuple[Stamp | None, Stamp | None]
    user: Items
    item: Items
    pushed: dict[int, Items]

    def of(self, user: int) -> Items:
        first, last = np.searchsorted(self.user, [user, user + 1])
        return np.union1d(self.item[first:last], self.pushed.get(user, _NOTHING))


_lock = Lock()
_kept: dict[Path, _Taken] = {}


def _taken(ws: Workspace) -> _Taken:
    prepared = ws.path("data", "interactions.parquet")
    found = _kept.get(ws.root)
    there = storage.stamp(prepared) or (found and found.stamps[0])  # where a folder is replaced in two renames
    stamps = there, storage.stamp(path(ws))
    if found is not None and found.stamps == stamps:
        return found
    with _lock:
        if found is None or found.stamps[0] != stamps[0]:
            table = tables.interactions(ws)
            user, item = (table[name].to_numpy().astype(np.int64) for name in ("user", "item"))
        else:
            user, item = found.user, found.item
        _kept[ws.root] = _Taken(stamps, user, item, _pushed(ws))
        return _kept[ws.root]


def _pushed(ws: Workspace) -> dict[int, Items]:
    """Made without a dictionary of all users and items: after each push a request waits for it."""
    new = _counting(ws)
    if not new.num_rows:
        return {}
    user, item = (_rows_of(ws, kind, new[column]) for kind, column in (("users", "user"), ("items", "item")))
    order = np.argsort(user, kind="stable")
    users, starts = np.unique(user[order], return_index=True)
    return dict(zip(users.tolist(), np.split(item[order], starts[1:]), strict=True))


def _rows_of(ws: Workspace, kind: str, raw_ids: pa.ChunkedArray) -> Items:
    known = vocabulary.load(ws.dataset, kind)
    known = known.filter(pc.is_in(known["raw_id"], value_set=raw_ids.unique()))  # pyright: ignore[reportAttributeAccessIssue]
    places = pc.index_in(raw_ids, value_set=known["raw_id"]).to_numpy()  # pyright: ignore[reportAttributeAccessIssue]
    return known["row"].to_numpy()[places]
