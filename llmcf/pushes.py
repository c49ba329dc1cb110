"""New interactions between two preparations: which of them count, and the user states that follow from them.

Accepted events are kept under raw ids, so the states can be computed again at any time, and a push that was killed can
be repeated. Nothing here touches Feast.
"""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from core.contracts import HISTORY, PAD
from core.data import features
from core.data.splits import DAY
from core.errors import UsageError

EVENTS = pa.schema([("user", pa.string()), ("item", pa.string()), ("timestamp", pa.int64())])
LEFT_OUT = ("unknown_user", "unknown_item", "future", "duplicate", "late")


@dataclass(frozen=True, slots=True)
class Event:
    """One new interaction; ids as the data set spells them, Unix seconds."""

    user: str
    item: str
    timestamp: int


def parse(lines: Iterable[str]) -> list[Event]:
    """The events in JSON lines of `user`, `item` and `timestamp`; empty lines are skipped.

    Raises:
        UsageError: naming the first line that is none.
    """
    events, number = [], 0
    try:
        for number, line in enumerate(lines, start=1):  # noqa: B007 (named by the error)
            if line.strip():
                events.append(_event(json.loads(line)))
    except ValueError as error:  # of JSON, of UTF-8, of a field
        raise UsageError(f"event on line {number}: {error}; want user, item, timestamp as in {_EXAMPLE}") from None
    return events


_EXAMPLE = '{"user": "196", "item": "242", "timestamp": 881250949}'


def _event(value: Any) -> Event:
    if not isinstance(value, dict):
        raise ValueError(f"{value!r:.80} is no object")
    for name in ("user", "item", "timestamp"):
        kinds = (int,) if name == "timestamp" else (int, str)
        if type(value.get(name)) not in kinds:
            raise ValueError(f"{name} is {value.get(name)!r:.80}")
    return Event(str(value["user"]), str(value["item"]), value["timestamp"])


@dataclass(slots=True)
class Timeline:
    """What one user has taken, oldest first; the first `prepared` of them come from the prepared data."""

    user: int
    items: list[int]
    times: list[int]
    prepared: int

    def why_not(self, item: int, timestamp: int) -> str | None:
        """Why an event cannot be appended: it is there already, or older than the newest."""
        if (item, timestamp) in zip(self.items, self.times, strict=True):
            return "duplicate"
        return "late" if self.times and timestamp < self.times[-1] else None

    def states(self) -> list[dict[str, Any]]:
        """The user's state after each pushed event, dated like the states of `core.data.features`."""
        return [self._state(count) for count in range(self.prepared + 1, len(self.items) + 1)]

    def _state(self, count: int) -> dict[str, Any]:
        history = self.items[max(0, count - HISTORY) : count]
        day = self.times[count - 1] // DAY
        return {
            "user": self.user,
            "event_timestamp": day * features.DAY_US + count * features.POSITION_US,
            "history": [PAD] * (HISTORY - len(history)) + history,
            "activity": np.log1p(count),
        }


class Timelines:
    """The timelines of users whom events name, and the rules for appending to them."""

    def __init__(self, interactions: pa.Table, users: pa.Table, items: pa.Table) -> None:
        self._users = dict(zip(users["raw_id"].to_pylist(), users["user"].to_pylist(), strict=True))
        self._items = dict(zip(items["raw_id"].to_pylist(), items["item"].to_pylist(), strict=True))
        self._columns = {name: interactions[name].to_numpy() for name in ("user", "item", "timestamp")}
        self._open: dict[str, Timeline] = {}

    def append(self, events: Iterable[Event], *, now: float) -> tuple[list[Event], Counter[str]]:
        """Append events, oldest first; returns those that were, and counts of the others by reason (LEFT_OUT)."""
        accepted: list[Event] = []
        left_out: Counter[str] = Counter(dict.fromkeys(LEFT_OUT, 0))
        for event in sorted(events, key=lambda event: event.timestamp):
            reason = self._append(event, now)
            if reason:
                left_out[reason] += 1
            else:
                accepted.append(event)
        return accepted, left_out

    def states(self) -> pa.Table:
        """`features.USER_HISTORY`: every state that pushed events brought about, oldest first for each user."""
        rows = [state for timeline in self._open.values() for state in timeline.states()]
        plain = pa.schema([*features.USER_HISTORY]).set(1, pa.field("event_timestamp", pa.int64()))
        table = pa.Table.from_pylist(rows, schema=plain)
        return table.cast(features.USER_HISTORY)

    def ids(self, events: Iterable[Event]) -> set[int]:
        """Rows of the known users whom events name."""
        return {self._users[event.user] for event in events if event.user in self._users}

    def _append(self, event: Event, now: float) -> str | None:
        if event.user not in self._users:
            return "unknown_user"
        if event.item not in self._items:
            return "unknown_item"
        if event.timestamp > now:
            return "future"
        if event.user not in self._open:
            self._open[event.user] = self._prepared(self._users[event.user])
        timeline = self._open[event.user]
        item = self._items[event.item]
        if reason := timeline.why_not(item, event.timestamp):
            return reason
        timeline.items.append(item)
        timeline.times.append(event.timestamp)
        return None

    def _prepared(self, user: int) -> Timeline:
        first, last = np.searchsorted(self._columns["user"], [user, user + 1])
        items, times = (self._columns[name][first:last].tolist() for name in ("item", "timestamp"))
        return Timeline(user, items, times, prepared=len(items))
