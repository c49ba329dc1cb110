"""The rows of one feature service: read, decoded, held against their views' TTL, merged into one mapping an id.

Feast does not enforce a TTL online (its issue 6821), so a state may be read years after it was true. Here a row that
is too old reads as missing, and is counted and named.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prometheus_client import Counter

from llmcf.online.cache import RowCache
from llmcf.online.rows import Rows
from llmcf.online.views import Row, View, decoder

ROWS = Counter("llmcf_online_rows", "Rows that requests asked for: fresh, stale (too old to use) or missing.",
               ["view", "state"])  # fmt: skip


@dataclass(frozen=True, slots=True)
class Read:
    """For each id its features, or None if its leading view has no usable row; and the stale rows a view, if any."""

    rows: list[dict[str, Any] | None]
    stale: Mapping[str, int]


class Table:
    """The views of one service. `lead` names the view without which nothing is known of an id.

    Rows of `immutable` views are kept in this process: theirs only change with the release, which makes a new table.
    """

    def __init__(self, rows: Rows, views: Sequence[View], *, lead: str, immutable: frozenset[str], kept: int) -> None:
        self._rows, self._views = rows, tuple(views)
        self.fields = [field for view in views for field in view.fields]
        assert len(set(self.fields)) == len(self.fields), "two views of a service share a field's name"
        assert lead in {view.name for view in views}, f"the service does not hold {lead}"
        self._lead, self._decode = lead, decoder()
        self._caches = {view.name: RowCache(kept) for view in views if view.name in immutable}

    def read(self, ids: Sequence[int], now: float) -> Read:
        """`now` is in Unix seconds.

        Raises:
            LlmcfError: if the store does not answer.
        """
        merged: list[dict[str, Any]] = [dict.fromkeys(self.fields) for _ in ids]
        stale: dict[str, int] = {}
        known: list[bool] = []
        for view, rows in zip(self._views, self._read(ids), strict=True):
            fresh = [row is not None and row[0] + view.ttl >= now for row in rows]
            for target, row, usable in zip(merged, rows, fresh, strict=True):
                if usable and row:
                    target.update(zip(view.fields, row[1], strict=True))
            if old := _account(view, rows, fresh):
                stale[view.name] = old
            if view.name == self._lead:
                known = fresh
        return Read([row if there else None for row, there in zip(merged, known, strict=True)], stale)

    def forget(self) -> None:
        """Drop what is kept of rows and keys."""
        self._rows.forget()
        for cache in self._caches.values():
            cache.clear()

    def _read(self, ids: Sequence[int]) -> list[list[Row | None]]:
        """Decoded rows a view: cached ones from here, all others in one go."""
        cached = [self._caches[view.name].get(ids) if view.name in self._caches else {} for view in self._views]
        wanted = [
            (view, [one for one in ids if one not in held]) for view, held in zip(self._views, cached, strict=True)
        ]
        answers = iter(self._rows.read([(view, missing) for view, missing in wanted if missing]))
        found = []
        for (view, missing), held in zip(wanted, cached, strict=True):
            new = self._decoded(missing, next(answers)) if missing else {}
            if view.name in self._caches:
                self._caches[view.name].put(new)
                found.append([_copied(held.get(one) or new.get(one)) for one in ids])
            else:
                found.append([new[one] for one in ids])
        return found

    def _decoded(self, ids: Sequence[int], rows: Sequence[Row | None]) -> dict[int, Row | None]:
        decode = self._decode
        return {one: row and (row[0], tuple(map(decode, row[1]))) for one, row in zip(ids, rows, strict=True)}


def _copied(row: Row | None) -> Row | None:
    """A cached row with lists of its own, so that no caller changes what the next one reads."""
    return row and (row[0], tuple(value.copy() if type(value) is list else value for value in row[1]))


def _account(view: View, rows: Sequence[Row | None], fresh: Sequence[bool]) -> int:
    return count_states(view, rows.count(None), sum(fresh), len(rows))


def count_states(view: View, missing: int, fresh: int, asked: int) -> int:
    """Count the rows by state; returns the stale ones."""
    counts = {"fresh": fresh, "stale": asked - fresh - missing, "missing": missing}
    for state, count in counts.items():
        if count:
            ROWS.labels(view.name, state).inc(count)
    return counts["stale"]
