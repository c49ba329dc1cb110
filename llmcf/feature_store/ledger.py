"""What was pushed to a data set, under raw ids: `<home>/<dataset>/pushed/events.parquet`, the newest in a second file.

A push writes only `recent.parquet` beside it, which is settled into the large one when it has grown.

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
_GENERATION = b"generation"  # in a file's metadata: how often recent rows were settled
RECENT = 5000  # rows


def path(ws: Workspace) -> Path:
    return settings.home() / ws.dataset / "pushed" / "events.parquet"


def recent_path(ws: Workspace) -> Path:
    return path(ws).with_name("recent.parquet")


def stamps(ws: Workspace) -> tuple[Stamp | None, Stamp | None]:
    """What tells whether anything was added."""
    return storage.stamp(path(ws)), storage.stamp(recent_path(ws))


def locked(ws: Workspace) -> FileLock:
    """One process at a time adds to it."""
    path(ws).parent.mkdir(parents=True, exist_ok=True)
    return FileLock(path(ws).with_name(".events.lock"))


def events(ws: Workspace) -> list[Event]:
    """The events that count in this workspace, in the order they were taken.

    Those are the ones that it or an earlier workspace took, and those that happened before its end. What the prepared
    data holds by now is still among them.
    """
    counting = pa.concat_tables([_counting(ws, part) for part in _parts(ws)])
    columns = (counting[name].to_pylist() for name in ("user", "item", "timestamp"))
    return [Event(*row) for row in zip(*columns, strict=True)]


def add(ws: Workspace, new: Iterable[Event]) -> None:
    """Keep what this workspace took; the caller holds the lock."""
    rows = [{"user": one.user, "item": one.item, "timestamp": one.timestamp, "as_of": ws.as_of} for one in new]
    if not rows:
        return
    recent, generation = _read(recent_path(ws)), _generation(_settled_schema(ws))
    kept = [recent] if _generation(recent.schema) == generation else []  # else a kill came between the two files
    recent = pa.concat_tables([*kept, pa.Table.from_pylist(rows, schema=SCHEMA)])
    if recent.num_rows > RECENT:
        generation += 1
        storage.write_table(path(ws), pa.concat_tables([_read(path(ws)), recent]), _schema(generation))
        recent = SCHEMA.empty_table()
    storage.write_table(recent_path(ws), recent, _schema(generation))


def _settled_schema(ws: Workspace) -> pa.Schema:
    return pq.read_schema(path(ws)) if path(ws).exists() else SCHEMA


def _parts(ws: Workspace) -> tuple[pa.Table, pa.Table]:
    """All rows: the settled ones, and the recent ones that are not among them yet.

    The recent ones are read first: what another process settles in between is then in both, which their generations
    tell, as they do after a kill.
    """
    recent, settled = _read(recent_path(ws)), _read(path(ws))
    return settled, recent if _generation(recent.schema) == _generation(settled.schema) else SCHEMA.empty_table()


def _read(place: Path) -> pa.Table:
    try:
        return storage.parquet(place)
    except FileNotFoundError:
        return SCHEMA.empty_table()


def _generation(schema: pa.Schema) -> int:
    return int((schema.metadata or {}).get(_GENERATION, 0))


def _schema(generation: int) -> pa.Schema:
    return SCHEMA.with_metadata({_GENERATION: str(generation)})


def _counting(ws: Workspace, part: pa.Table) -> pa.Table:
    """Those rows that count in a workspace."""
    part = part.replace_schema_metadata(None)
    if ws.as_of == LATEST:
        return part
    end = int(datetime.fromisoformat(ws.as_of).replace(tzinfo=UTC).timestamp())
    # Days in ISO form sort as text, and "latest" comes after all of them.
    return part.filter((pc.field("timestamp") < end) | (pc.field("as_of") <= ws.as_of))


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
    users = np.unique(np.concatenate([part.user for part in found.parts]))
    return {user: found.of(user) for user in users.tolist()}


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Users and what they took, sorted by user, as a file had it when it had this stamp."""

    stamp: Stamp | None
    generation: int
    user: Items
    item: Items

    def items(self, user: int) -> Items:
        first, last = np.searchsorted(self.user, [user, user + 1])
        return self.item[first:last]


@dataclass(frozen=True, slots=True)
class _Taken:
    """Prepared interactions, settled pushes, recent pushes: each part read again only after its file has changed."""

    stamps: tuple[Stamp | None, ...]
    prepared: _Pairs
    settled: _Pairs
    recent: _Pairs

    @property
    def parts(self) -> tuple[_Pairs, ...]:
        return self.prepared, self.settled, self.recent

    def of(self, user: int) -> Items:
        return np.unique(np.concatenate([part.items(user) for part in self.parts]))


_lock = Lock()
_kept: dict[Path, _Taken] = {}


def _taken(ws: Workspace) -> _Taken:
    prepared = ws.path("data", "interactions.parquet")
    found = _kept.get(ws.root)
    there = storage.stamp(prepared) or (found and found.stamps[0])  # where a folder is replaced in two renames
    now = there, *stamps(ws)
    if found is not None and found.stamps == now:
        return found
    with _lock:
        found = _kept.get(ws.root)
        if found is None or found.stamps[0] != there:
            table = tables.interactions(ws)
            known = _Pairs(there, 0, *(table[name].to_numpy().astype(np.int64) for name in ("user", "item")))
        else:
            known = found.prepared
        _kept[ws.root] = _Taken(now, known, *_pushed(ws, now[1], found and found.settled))
        return _kept[ws.root]


def _pushed(ws: Workspace, stamp: Stamp | None, settled: _Pairs | None) -> tuple[_Pairs, _Pairs]:
    """The settled rows, from before where they still hold, and the recent ones: a request waits for it after a push."""
    recent = _read(recent_path(ws))
    if settled is None or settled.stamp != stamp or settled.generation < _generation(recent.schema):
        settled = _pairs(ws, stamp, _read(path(ws)))
    return settled, _pairs(ws, None, recent)  # some may be in both, which makes no difference to who took what


def _pairs(ws: Workspace, stamp: Stamp | None, part: pa.Table) -> _Pairs:
    rows = _counting(ws, part)
    if not rows.num_rows:
        return _Pairs(stamp, _generation(part.schema), _NOTHING, _NOTHING)
    user, item = (_rows_of(ws, kind, rows[column]) for kind, column in (("users", "user"), ("items", "item")))
    order = np.argsort(user, kind="stable")
    return _Pairs(stamp, _generation(part.schema), user[order], item[order])


def _rows_of(ws: Workspace, kind: str, raw_ids: pa.ChunkedArray) -> Items:
    known = _vocabulary(ws.dataset, kind)
    known = known.filter(pc.is_in(known["raw_id"], value_set=raw_ids.unique()))  # pyright: ignore[reportAttributeAccessIssue]
    places = pc.index_in(raw_ids, value_set=known["raw_id"]).to_numpy()  # pyright: ignore[reportAttributeAccessIssue]
    return known["row"].to_numpy()[places]


_vocabularies: dict[Path, tuple[Stamp | None, pa.Table]] = {}


def _vocabulary(dataset: str, kind: str) -> pa.Table:
    """A vocabulary, read again only after it has grown."""
    place = vocabulary.path(dataset, kind)
    stamp = storage.stamp(place)
    held = _vocabularies.get(place)
    if held is None or held[0] != stamp:
        _vocabularies[place] = held = stamp, vocabulary.load(dataset, kind)
    return held[1]
