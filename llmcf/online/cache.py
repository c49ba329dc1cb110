"""Decoded rows of views whose rows never change within a release, the least recently used dropped first."""

from collections.abc import Iterable, Mapping, Sequence
from threading import Lock

from llmcf.online.views import Row


class RowCache:
    """At most `size` rows of one view; safe for several threads."""

    def __init__(self, size: int) -> None:
        self._size, self._lock = size, Lock()
        self._rows: dict[int, Row] = {}  # oldest use first

    def __len__(self) -> int:
        return len(self._rows)

    def get(self, ids: Iterable[int]) -> dict[int, Row]:
        """The rows that are there."""
        found = {}
        with self._lock:
            for one in ids:
                row = self._rows.pop(one, None)
                if row is not None:
                    found[one] = self._rows[one] = row
        return found

    def put(self, rows: Mapping[int, Row | None]) -> None:
        """Keep the rows that exist; that one is missing is not kept, it may come yet."""
        with self._lock:
            self._rows.update((one, row) for one, row in rows.items() if row is not None)
            for one in self._excess():
                del self._rows[one]

    def clear(self) -> None:
        with self._lock:
            self._rows.clear()

    def _excess(self) -> Sequence[int]:
        return list(self._rows)[: max(0, len(self._rows) - self._size)]
