"""Rows of an online store as they lie there, with their event times: one query a view, or one round trip for all.

Feast's own reader asks the same, and then spends most of its time on building a response that is taken apart again.
tests/integration proves that both give the same values.
"""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from itertools import islice
from pathlib import Path
from threading import local
from typing import TYPE_CHECKING, Any, Protocol

from core import deadlines, settings
from core.data.tables import remedy
from core.errors import LlmcfError, Missing, Unavailable
from core.settings import Workspace
from llmcf.feature_store import redis_address, registry
from llmcf.online.views import Row, View, key_bytes

if TYPE_CHECKING:
    from redis import Redis

Wanted = Sequence[tuple[View, Sequence[int]]]
_SQLITE_S = 0.5  # that a view is waited for while somebody writes
_KEYS = 65_536  # serialized keys that are kept: about 100 bytes each


class Rows(Protocol):
    """The newest rows of one project; values are protobuf bytes."""

    def read(self, wanted: Wanted) -> list[list[Row | None]]:
        """For each view a row for each id, None where the store has none.

        Raises:
            Unavailable: if the store does not answer; OutOfTime, if a request's time is over before that can be told.
        """
        ...

    def forget(self) -> None:
        """Drop the serialized keys that are kept."""
        ...


def open_rows(ws: Workspace, folder: Path, release: Mapping[str, Any], key: str) -> Rows:
    """The rows of a release (llmcf/feature_store/registry.py) by entity `key`; `folder` is where it was applied.

    Raises:
        LlmcfError: if they are in another Redis than LLMCF_REDIS names, or it does not answer.
    """
    if release["online_store"] == "sqlite":
        return SqliteRows(folder / "online.db", release["project"], key, remedy(ws, "features materialize"))
    connection = settings.redis_connection()
    if connection is None or registry.connection_digest(connection) != release["connection"]:
        raise LlmcfError("the online store is in another Redis than LLMCF_REDIS names; set it as it was, or apply anew")
    return RedisRows(connection, release["project"], key)


class SqliteRows:
    """Feast's SQLite store, read only: a table a view, a row a field; a connection for each thread.

    Raises:
        Missing: if there is no such file.
    """

    def __init__(self, path: Path, project: str, key: str, remedy: str) -> None:
        if not path.is_file():
            raise Missing(f"{path} is not there", remedy)
        self._path, self._project, self._remedy = path, project, remedy
        self._key = lru_cache(_KEYS)(key_bytes(key))
        self._own = local()

    def read(self, wanted: Wanted) -> list[list[Row | None]]:
        with deadlines.call(_SQLITE_S) as given:
            try:
                connection = self._connection(given)
                return [self._view(connection, view, [self._key(one) for one in ids]) for view, ids in wanted]
            except sqlite3.Error as error:
                raise Unavailable(f"{self._path} cannot be read ({error}); try `{self._remedy}`") from error

    def forget(self) -> None:
        self._key.cache_clear()

    def _connection(self, seconds: float) -> sqlite3.Connection:
        """This thread's, which waits at most that long for whoever writes."""
        if not hasattr(self._own, "connection"):
            self._own.connection = sqlite3.connect(f"{self._path.as_uri()}?mode=ro", uri=True, check_same_thread=False)
        self._own.connection.execute(f"PRAGMA busy_timeout={round(1e3 * seconds)}")
        return self._own.connection

    def _view(self, connection: sqlite3.Connection, view: View, keys: Sequence[bytes]) -> list[Row | None]:
        table = f'"{self._project}_{view.name}"'
        marks = ",".join("?" * len(keys))
        query = f"SELECT entity_key, feature_name, value, event_ts FROM {table} WHERE entity_key IN ({marks})"  # noqa: S608 - our own names
        found: dict[bytes, dict[str, bytes]] = {}
        times: dict[bytes, int] = {}
        for key, name, value, time in connection.execute(query, keys):
            found.setdefault(key, {})[name] = value
            times[key] = time
        return [(_unix(times[key]), tuple(map(found[key].get, view.fields))) if key in found else None for key in keys]


@lru_cache(4096)
def _unix(stored: int) -> float:
    """Feast stores UTC as if it were local time, in whole seconds, and reads it back the same way."""
    return datetime.fromtimestamp(stored).replace(tzinfo=UTC).timestamp()


class RedisRows:
    """Feast's Redis store: a hash an entity, with the fields of all its views and a time for each view."""

    def __init__(self, connection: str, project: str, key: str) -> None:
        redis_address.require(connection)
        self._connection, self._client = connection, redis_address.reader(connection)
        serialized, suffix = key_bytes(key), project.encode()
        self._key = lru_cache(_KEYS)(lambda one: serialized(one) + suffix)
        self._columns = lru_cache(None)(_columns)

    def read(self, wanted: Wanted) -> list[list[Row | None]]:
        from redis import RedisError

        columns: dict[int, list[bytes]] = {}  # by id: what all its views want of its hash
        for view, ids in wanted:
            for one in ids:
                columns.setdefault(one, []).extend(self._columns(view))
        with deadlines.call(redis_address.REQUEST_S):
            try:
                replies = _replies(self._client, [(self._key(one), names) for one, names in columns.items()])
            except RedisError as error:
                raise redis_address.failed(self._connection, error) from None
        left = {one: iter(reply) for one, reply in zip(columns, replies, strict=True)}
        return [[_row(view, left[one]) for one in ids] for view, ids in wanted]

    def forget(self) -> None:
        self._key.cache_clear()


def _columns(view: View) -> list[bytes]:
    from feast.infra.online_stores.helpers import _mmh3

    return [*(_mmh3(f"{view.name}:{field}") for field in view.fields), f"_ts:{view.name}".encode()]


def _replies(client: "Redis", commands: Sequence[tuple[bytes, Sequence[bytes]]]) -> list[list[bytes | None]]:
    with client.pipeline(transaction=False) as pipe:
        for key, names in commands:
            pipe.execute_command("HMGET", key, *names)
        return pipe.execute()


def _row(view: View, reply: Iterator[bytes | None]) -> Row | None:
    values, time = tuple(islice(reply, len(view.fields))), next(reply)
    return (_seconds(time), values) if time else None


@lru_cache(4096)
def _seconds(stored: bytes) -> float:
    from google.protobuf.timestamp_pb2 import Timestamp

    time = Timestamp.FromString(stored)
    return time.seconds + time.nanos / 1e9
