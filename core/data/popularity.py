"""How often items were taken before a day: the dated states of the `item_popularity` view."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from core.data import dated
from core.data.dated import Ints

WINDOWS = (7, 30, 90)  # days of popularity_7d and so on
_SPAN = 1 << 32  # more than any day number


class Counts:
    """Interactions of items, to be counted by day."""

    def __init__(self, item: Ints, day: Ints) -> None:
        self._events = np.sort(item * _SPAN + day)

    def before(self, item: Ints, day: Ints) -> Ints:
        """How many interactions each item has on days before `day`."""
        return np.searchsorted(self._events, item * _SPAN + day) - np.searchsorted(self._events, item * _SPAN)

    def first_day(self, item: Ints) -> Ints:
        """The day of each item's first interaction; the items must have one."""
        return self._events[np.searchsorted(self._events, item * _SPAN)] % _SPAN


def item_states(item: Ints, day: Ints, catalogue: Ints) -> pa.Table:
    """Counts at the start of a day, for the first day of the data and each later one on which a count changes.

    The day after the last has a state of every item: its date says how fresh the online values are.
    """
    first, end = day.min(), day.max() + 1  # `end` is the day of the online state
    pairs = np.unique(item * _SPAN + day)
    changes = [catalogue * _SPAN + first, catalogue * _SPAN + end, *(pairs + 1 + after for after in (0, *WINDOWS))]
    states = np.unique(np.concatenate(changes))
    owner, state_day = states // _SPAN, states % _SPAN
    inside = state_day <= end
    owner, state_day = owner[inside], state_day[inside]
    counts = Counts(item, day)
    total = counts.before(owner, state_day)
    recent = {days: total - counts.before(owner, np.maximum(state_day - days, 0)) for days in WINDOWS}
    known = total > 0
    first_day = np.zeros(len(owner), dtype=np.int64)
    first_day[known] = counts.first_day(owner[known])
    return pa.table(
        {
            "item": owner,
            "event_timestamp": dated.times(state_day),
            "popularity": log1p(total),
            **{f"popularity_{days}d": log1p(recent[days]) for days in WINDOWS},
            "trend": trend(recent[30], recent[90]),
            "first_day": first_day.astype(np.int32),
        }
    )


def trend(last_30: Ints, last_90: Ints) -> NDArray[np.float32]:
    """log of (1 + interactions of the last 30 days) over (1 + monthly mean of the 60 days before): 0 is steady."""
    return (np.log1p(last_30) - np.log1p((last_90 - last_30) / 2)).astype(np.float32)


def log1p(counts: Ints) -> NDArray[np.float32]:
    """What a count is as a feature."""
    return np.log1p(counts).astype(np.float32)
