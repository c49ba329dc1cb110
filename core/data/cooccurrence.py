"""Which items are taken together: dated top lists, the states of the `item_neighbours` view.

Two items occur together when one user takes the second at most HISTORY positions after the first; the pair counts from
the first list after the later of the two days. An on-demand view cannot see a matrix that changes every day, so each
item has a list at the start of every PERIOD in which its counts changed.
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pyarrow as pa

from core.contracts import HISTORY, NEIGHBOURS, PAD
from core.data import dated
from core.data.dated import Ints

PERIOD = 30  # days between lists


def neighbour_states(user: Ints, item: Ints, day: Ints) -> pa.Table:
    """`features.ITEM_NEIGHBOURS` of the interactions, which are sorted by user and position.

    The day after the last repeats the newest list of every item: its date says how fresh the online values are.
    """
    end = int(day.max(initial=0)) + 1
    counted = _pairs(user, item, day)
    known = counted[1] <= end  # the rest waits for its list online as it does in training
    nothing = np.empty((0, NEIGHBOURS), dtype=np.int64)
    parts = [(nothing[:, 0], nothing[:, 0], nothing, nothing)]
    parts += _lists_of_items(*(column[known] for column in counted), end=end)
    owner, days, lists, counts = (np.concatenate(column) for column in zip(*parts, strict=True))
    return pa.table(
        {
            "item": owner,
            "event_timestamp": dated.times(days),
            "neighbours": dated.as_lists(lists),
            "neighbour_counts": dated.as_lists(counts, pa.int32()),
        }
    )


def listed_on(day: Ints) -> Ints:
    """The day of the first list that may count a pair of `day`; always later."""
    return (day // PERIOD + 1) * PERIOD


def _pairs(user: Ints, item: Ints, day: Ints) -> tuple[Ints, Ints, Ints, Ints]:
    """Item, day of the list, other item and count of every pair, in both directions, sorted: four times (P,)."""
    items, first = int(item.max(initial=0)) + 1, int(day.min(initial=0)) // PERIOD
    lists = int(day.max(initial=0)) // PERIOD + 2 - first
    found = [np.empty(0, dtype=np.int64)]
    for lag in range(1, HISTORY + 1):
        later = np.flatnonzero((user[lag:] == user[:-lag]) & (item[lag:] != item[:-lag])) + lag
        listed = listed_on(day[later]) // PERIOD - first
        one, other = item[later], item[later - lag]
        found += [(a * lists + listed) * items + b for a, b in ((one, other), (other, one))]
    keys, count = np.unique(np.concatenate(found), return_counts=True)  # one number a pair: far faster than three
    return keys // items // lists, (keys // items % lists + first) * PERIOD, keys % items, count


def _lists_of_items(
    item: Ints, listed: Ints, other: Ints, count: Ints, *, end: int
) -> Iterator[tuple[Ints, Ints, Ints, Ints]]:
    """For each item: itself once for each list, the days of its lists, the lists and their counts."""
    starts = np.append(np.flatnonzero(np.diff(item, prepend=-1)), len(item))
    for start, stop in pairwise(starts):
        days, at = np.unique(np.append(listed[start:stop], end), return_inverse=True)
        others, which = np.unique(other[start:stop], return_inverse=True)
        counts = np.zeros((len(days), len(others)), dtype=np.int64)
        counts[at[:-1], which] = count[start:stop]
        yield np.full(len(days), item[start]), days, *_top(others, counts.cumsum(axis=0))


def _top(others: Ints, counts: Ints) -> tuple[Ints, Ints]:
    """The NEIGHBOURS most frequent items of each row of `counts`, most frequent first, the older row on a tie."""
    width = len(others)
    rank = counts * width + np.arange(width - 1, -1, -1)  # unique, so that partition and order are certain
    if width > NEIGHBOURS:
        kept = np.argpartition(-rank, NEIGHBOURS, axis=1)[:, :NEIGHBOURS]
    else:
        kept = np.broadcast_to(np.arange(width), counts.shape)
    kept = np.take_along_axis(kept, np.argsort(-np.take_along_axis(rank, kept, axis=1), axis=1), axis=1)
    found = np.take_along_axis(counts, kept, axis=1)
    pad = ((0, 0), (0, NEIGHBOURS - kept.shape[1]))
    return np.pad(np.where(found > 0, others[kept], PAD), pad), np.pad(found, pad)
