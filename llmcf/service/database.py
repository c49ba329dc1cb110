"""The one SQLite file that the processes of a service share: a write-ahead log, a connection for each thread.

It holds what people did, so it and the files beside it are the service's user's alone.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import local

from core import deadlines
from core.errors import Unavailable

_LEAST_S = 0.01  # that a transaction waits


class Database:
    """Safe for threads and processes.

    Args:
        tables: statements that make what is not there yet.
        durable: a transaction that was committed outlives a power cut, at the price of a flush; else a kill alone.
        busy_s: for which a transaction waits for another process's, or less where a request's time is short.

    Raises:
        Unavailable: from a transaction, if the file cannot be read or written now.
    """

    def __init__(self, path: Path, tables: str, *, durable: bool, busy_s: float) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        _hide(path)
        self.path, self._own, self._busy_s = path, local(), busy_s
        self._synchronous = "FULL" if durable else "NORMAL"
        with self.transaction() as connection:
            connection.executescript(tables)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All of the block, or nothing where it fails."""
        try:
            with self._connection() as connection:
                yield connection
        except sqlite3.Error as error:
            raise Unavailable(f"{self.path} cannot be used now: {error}") from error

    def _connection(self) -> sqlite3.Connection:
        if not hasattr(self._own, "connection"):
            # The write lock is taken at the beginning: one that begins as a reader is refused at once, however long it
            # would wait, where somebody has written meanwhile.
            made = sqlite3.connect(self.path, timeout=self._busy_s, isolation_level="IMMEDIATE")
            made.execute("PRAGMA journal_mode=WAL")
            made.execute(f"PRAGMA synchronous={self._synchronous}")
            self._own.connection, self._own.busy_ms = made, None
        self._wait()
        return self._own.connection

    def _wait(self) -> None:
        """Let the connection wait no longer than there is time for."""
        busy_ms = round(1e3 * max(_LEAST_S, min(self._busy_s, deadlines.left())))
        if busy_ms != self._own.busy_ms:
            self._own.connection.execute(f"PRAGMA busy_timeout={busy_ms}")
            self._own.busy_ms = busy_ms


def _hide(path: Path) -> None:
    """Before anything is written: SQLite gives the files beside it the rights that this one has.

    One that is there is not opened: to close it would give back the locks that SQLite holds on it in this process.
    """
    with suppress(OSError):  # what cannot be made is told by SQLite
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    for one in (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")):
        with suppress(FileNotFoundError):
            one.chmod(0o600)
