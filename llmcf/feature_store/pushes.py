"""New interactions between two preparations: which of them count, and the user states that follow from them.

Accepted events are kept under raw ids (ledger.py), so the states can be computed again at any time, and a push that was
killed can be repeated. What an event may be is said in core/data/events.py. Nothing here touches Feast.
"""

import json
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from core.contracts import DAY
from core.data import dated, events, features
from core.data.events import Event
from core.data.histories import Attributes, user_states
from core.data.popularity import Counts, log1p
from core.errors import UsageError
from llmcf.feature_store.held import Held

LEFT_OUT = ("future", "duplicate", "late")
_EXAMPLE = '{"user": "196", "item": "242", "timestamp": 881250949}'


def parse(lines: Iterable[str | bytes], *, now: float) -> list[Event]:
    """The events in JSON lines of `user`, `item` and `timestamp`, each judged whole; empty lines are skipped.

    Raises:
        UsageError: naming the first line that is none, and what is wrong with it.
    """
    found = []
    for number, line in enumerate(lines, start=1):
        text = ""
        try:
            text = line.decode() if isinstance(line, bytes) else line
            if text := text.removeprefix("\ufeff").strip() if number == 1 else text.strip():
                found.append(_event(json.loads(text), now))
        except (ValueError, RecursionError) as error:  # of UTF-8, of JSON, of a field
            raise UsageError(f"event on line {number}: {_told(error, text)}; want objects such as {_EXAMPLE}") from None
    return found


def _told(error: Exception, text: str) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{text[:80]!a} is no JSON ({error.msg} at character {error.pos + 1:,})"
    if isinstance(error, UnicodeDecodeError):
        return f"byte 0x{error.object[error.start]:02X} is not UTF-8 in {ascii(error.object[:80])[1:]}"
    if isinstance(error, RecursionError):
        return "is nested too deeply"
    return str(error) if isinstance(error, events.NoEventError) else f"{text[:80]!a} holds a number without end"


def _event(value: Any, now: float) -> Event:
    if not isinstance(value, dict):
        raise events.NoEventError("not_an_object", f"{value!a:.80} is no object")
    return events.event(*(value.get(name) for name in ("user", "item", "timestamp")), now=now)


@dataclass(slots=True)
class Timeline:
    """What one user has taken, oldest first; the first `prepared` of them come from the prepared data."""

    items: list[int]
    times: list[int]
    prepared: int
    taken: set[tuple[int, int]] = field(init=False)
    held: Held = field(init=False)

    def __post_init__(self) -> None:
        self.taken = set(zip(self.items, self.times, strict=True))
        self.held = Held(self.items, self.times)

    def why_not(self, item: int | None, timestamp: int) -> str | None:
        """Why an event cannot be taken: it is there already, or older than the prepared data's newest."""
        if (item, timestamp) in self.taken or self.held.holds(item, timestamp):
            return "duplicate"
        return "late" if self.prepared and timestamp < self.times[self.prepared - 1] else None

    def insert(self, item: int, timestamp: int) -> bool:
        """Put the event where its time belongs; True if newer ones were there already."""
        place = bisect_right(self.times, timestamp)
        self.items.insert(place, item)
        self.times.insert(place, timestamp)
        self.taken.add((item, timestamp))
        return place < len(self.times) - 1


@dataclass(slots=True)
class Account:
    """What became of events: those taken, oldest first, and counts of the others by reason (LEFT_OUT).

    `reasons` has one for each event in the order they came, None for those taken.
    """

    accepted: list[Event] = field(default_factory=list)
    out_of_order: int = 0
    left_out: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(LEFT_OUT, 0)))
    reasons: list[str | None] = field(default_factory=list)


class Timelines:
    """The timelines of users whom events name, and the rules for adding to them.

    Args:
        attributes: of the items; one that has come since has none.
        users: vocabulary rows by raw id; `item_rows` the same of items. Both may grow.
    """

    def __init__(
        self, interactions: pa.Table, attributes: Attributes, users: dict[str, int], item_rows: dict[str, int]
    ) -> None:
        self._users, self._items = users, item_rows
        self._columns = {name: interactions[name].to_numpy() for name in ("user", "item", "timestamp", "day")}
        self._counts = Counts(self._columns["item"], self._columns["day"].astype(np.int64))
        self.attributes = attributes
        self._open: dict[int, Timeline] = {}

    def judge(self, new: Sequence[Event], *, now: float) -> Account:
        """Which events can be taken, oldest first, wherever their time belongs; a user may be new, an item too.

        Nothing is taken yet, so that nobody new has a row before it is certain that one is needed.
        """
        account, here = Account(reasons=[None] * len(new)), set()
        for place in sorted(range(len(new)), key=lambda place: new[place].timestamp):
            event = new[place]
            reason = "duplicate" if event in here else self._why_not(event, now)
            account.reasons[place] = reason
            if reason:
                account.left_out[reason] += 1
            else:
                account.accepted.append(event)
                here.add(event)
        return account

    def insert(self, accepted: Iterable[Event]) -> int:
        """Put judged events into their timelines; everybody has a row by now. Returns how many came out of order."""
        return sum(self._line(event).insert(self._items[event.item], event.timestamp) for event in accepted)

    def replay(self, accepted: Iterable[Event]) -> None:
        """Take in what was accepted before, save what the prepared data holds by now.

        The data may have grown past an event and still lack it, so that none is late here.
        """
        of_user = defaultdict[int, list[tuple[int, int]]](list)
        for event in accepted:
            self._line(event)
            of_user[self._users[event.user]].append((self._items[event.item], event.timestamp))
        for user, pushed in of_user.items():
            timeline = self._open[user]
            for item, timestamp in timeline.held.without(pushed):
                if (item, timestamp) not in timeline.taken:
                    timeline.insert(item, timestamp)

    def states(self, of: Set[int] | None = None) -> pa.Table:
        """`features.USER_HISTORY`: every state that pushed events brought about, oldest first for each user.

        Args:
            of: rows of the users that are asked for; None for everybody.
        """
        users = sorted(self._open if of is None else of & self._open.keys())
        lines = [self._open[user] for user in users]
        length = np.array([len(line.items) for line in lines], dtype=np.int64)
        if not length.sum():
            return features.USER_HISTORY.empty_table()
        user = np.repeat(users, length)
        item, day = (np.concatenate([column(line) for line in lines]).astype(np.int64) for column in (_items, _days))
        found = user_states(user, item, day, log1p(self._counts.before(item, day)), self.attributes)
        count = np.arange(len(found)) - np.searchsorted(found["user"].to_numpy(), found["user"].to_numpy())
        newest_day = np.concatenate([np.append(_days(line)[:1], _days(line)) for line in lines if line.items])
        times = dated.times(
            newest_day, count * dated.POSITION_US
        )  # a state is known from the moment of its newest item
        found = found.set_column(1, "event_timestamp", times)
        prepared = np.repeat([line.prepared for line in lines if line.items], length[length > 0] + 1)
        return found.filter(pa.array(count > prepared)).cast(features.USER_HISTORY)

    def ids(self, new: Iterable[Event]) -> set[int]:
        """Rows of the known users whom events name."""
        return {self._users[event.user] for event in new if event.user in self._users}

    def _why_not(self, event: Event, now: float) -> str | None:
        if event.timestamp > now:
            return "future"
        if event.user not in self._users:
            return None
        return self._line(event).why_not(self._items.get(event.item), event.timestamp)

    def _line(self, event: Event) -> Timeline:
        user = self._users[event.user]
        if user not in self._open:
            self._open[user] = self._prepared(user)
        return self._open[user]

    def _prepared(self, user: int) -> Timeline:
        first, last = np.searchsorted(self._columns["user"], [user, user + 1])
        items, times = (self._columns[name][first:last].tolist() for name in ("item", "timestamp"))
        return Timeline(items, times, prepared=len(items))


def _items(line: Timeline) -> list[int]:
    return line.items


def _days(line: Timeline) -> np.ndarray:
    return np.array(line.times, dtype=np.int64) // DAY
