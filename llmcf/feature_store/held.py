"""Which pushed events the prepared data hold by now: each of their lines stands for one.

A line is the same event where user and item are, and the times differ by no more than clocks do; or the line has no
more than a day, and the event is of that day.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa

from core.contracts import DAY

SAME_S = 900  # a shop's clock and the service's
Row = tuple[int, int, int]  # user and item, rows of the vocabularies, and Unix seconds


class Held:
    """What the prepared data hold of one user."""

    def __init__(self, items: Iterable[int], times: Iterable[int]) -> None:
        self._all = defaultdict[int, list[int]](list)
        for item, time in zip(items, times, strict=True):
            self._all[item].append(time)
        self._left = {item: times.copy() for item, times in self._all.items()}

    def holds(self, item: int | None, timestamp: int) -> bool:
        """Whether an event may be one of theirs."""
        return item is not None and _nearest(self._all.get(item, ()), timestamp) is not None

    def absorb(self, item: int, timestamp: int) -> bool:
        """Whether an event is one of theirs, which then stands for no other."""
        found = _nearest(left := self._left.get(item, []), timestamp)
        if found is not None:
            left.remove(found)
        return found is not None

    def without(self, events: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
        """The events (item, timestamp) that are none of theirs, oldest first; those of the very second come first."""
        ordered = sorted(set(events), key=lambda one: one[1])
        exact = {one for one in ordered if one[1] in self._left.get(one[0], ()) and self.absorb(*one)}
        return [one for one in ordered if one not in exact and not self.absorb(*one)]


def unheld(events: Sequence[Row], prepared: pa.Table) -> list[Row]:
    """The events that the prepared interactions do not hold, as they came; repetitions count once."""
    of_user = defaultdict[int, list[tuple[int, int]]](list)
    for user, item, timestamp in dict.fromkeys(events):
        of_user[user].append((item, timestamp))
    mine = prepared.filter(pa.array(np.isin(prepared["user"].to_numpy(), list(of_user))))
    lines = defaultdict[int, list[tuple[int, int]]](list)
    for user, item, time in zip(*(mine[name].to_pylist() for name in ("user", "item", "timestamp")), strict=True):
        lines[user].append((item, time))
    left = set[Row]()
    for user, pushed in of_user.items():
        items, times = zip(*lines[user], strict=True) if lines[user] else ((), ())
        left.update((user, *one) for one in Held(items, times).without(pushed))
    return [one for one in dict.fromkeys(events) if one in left]


def _nearest(times: Sequence[int], timestamp: int) -> int | None:
    same = [time for time in times if abs(time - timestamp) <= SAME_S or _is_day_of(time, timestamp)]
    return min(same, key=lambda time: abs(time - timestamp), default=None)


def _is_day_of(time: int, timestamp: int) -> bool:
    return time % DAY == 0 and time // DAY == timestamp // DAY
