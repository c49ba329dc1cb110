"""The one SQLite file that the processes of a service share: a write-ahead log, a connection for each thread."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import local

from core.errors import Unavailable


class Database:
    """Safe for threads and processes.

    Args:
        tables: statements that make what is not there yet.
        durable: a transaction that was committed outlives a power cut, at the price of a flush; else a kill alone.
        busy_s: for which a transaction waits for another process's.

    Raises:
        Unavailable: from a transaction, if the file cannot be read or written now.
    """

    def __init__(self, path: Path, tables: str, *, durable: bool, busy_s: float) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self._own, self._busy_s = path, local(), busy_s
        self._synchronous = "FULL" if durable else "NORMAL"
        with self.transaction() as connection:
            connection.executescript(tables)
        path.chmod(0o600)

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
            self._own.connection = made
        return self._own.connection
