"""What every training row may know, computed straight from the interactions: the reference for Feast's join.

It shares no code with the dated states of `features.py` and the on-demand view, so that agreement between the two
proves both. Suffixes: N interactions, sorted by user and position; R rows; L history length; K listed neighbours.
"""

from collections import Counter, deque
from collections.abc import Iterable

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import sparse

from core import schemas
from core.contracts import DENSE, HISTORY, NEIGHBOURS

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

FEATURES = schemas.TRAINING_ROWS.names[len(schemas.ROWS) :]
NEVER = -1.0  # of features that count days
_PERIOD = 30  # days between lists of neighbours
_CHUNK = 50_000
_SPAN = 1 << 31


def attach(rows: pa.Table, interactions: pa.Table, items: pa.Table) -> pa.Table:
    """`rows` of `schemas.ROWS` with the features of `schemas.TRAINING_ROWS`."""
    user, item, position, day = (_integers(interactions, name) for name in ("user", "item", "position", "day"))
    row_user, target, row_day, row_position = (_integers(rows, name) for name in ("user", "item", "day", "position"))
    start = np.searchsorted(user, row_user)
    at = start + row_position  # the interaction whose moment the row shares
    columns: dict[str, NDArray] = {
        "activity": np.log1p(row_position),
        **_user_facts(user, item, position, day, items, at),
        **_item_facts(item, day, target, row_day),
        "recency": _days(row_day - day[np.maximum(at - 1, 0)], row_position > 0),
        **_tastes(user, item, position, day, items, rows),
    }
    history_RL = _history(item, at, row_position)
    columns["cooccurrence"] = np.log1p(_together(user, item, day, target, row_day, history_RL))
    rows = rows.append_column("history", _lists(history_RL))
    for name in DENSE:
        rows = rows.append_column(name, pa.array(columns[name].astype(np.float32)))
    return rows.cast(schemas.TRAINING_ROWS)


def differences(joined: pa.Table, expected: pa.Table) -> dict[str, Ints]:
    """For each feature, the row numbers where two training tables disagree; both sorted by row."""
    found = {}
    for name in FEATURES:
        left, right = _comparable(joined[name]), _comparable(expected[name])
        if left.shape != right.shape:
            wrong = np.ones(len(right), dtype=bool)
        else:  # features are float32; sums in another order differ in the last digits
            wrong = ~np.isclose(left, right, rtol=1e-4, atol=1e-5).reshape(len(left), -1).all(axis=1)
        if wrong.any():
            found[name] = np.flatnonzero(wrong)
    return found


def _history(item: Ints, at: Ints, position: Ints) -> Ints:
    back = np.arange(HISTORY, 0, -1)
    places = at[:, None] - back
    return np.where(back <= position[:, None], item[np.maximum(places, 0)], 0)


def _user_facts(user: Ints, item: Ints, position: Ints, day: Ints, items: pa.Table, at: Ints) -> dict[str, NDArray]:
    """Of each row's user before its position: the popularity of what was taken, and how one-sided the taste is."""
    taken_N = np.log1p(_earlier(item, day, item, day))
    until = np.concatenate([[0], taken_N.cumsum()])
    length = np.minimum(position, HISTORY)
    places = np.arange(len(user))
    mean_N = (until[places] - until[places - length]) / np.maximum(length, 1)
    brands, labels = (
        [[], *column] for column in ([[b] for b in items["brand_id"].to_pylist()], items["category_ids"].to_pylist())
    )
    first = items["item"][0].as_py()
    brand_N = _top_shares(position, ([b for b in brands[one - first + 1] if b] for one in item.tolist()))
    label_N = _top_shares(position, (labels[one - first + 1] for one in item.tolist()))
    return {"taste_popularity": mean_N[at], "brand_affinity": brand_N[at], "category_affinity": label_N[at]}


def _top_shares(position: Ints, labels: Iterable[list[int]]) -> Floats:
    """Before each interaction, the share of the last HISTORY that carries the user's most frequent label."""
    share, recent, counts = np.zeros(len(position)), deque[list[int]](), Counter[int]()
    for place, (nth, own) in enumerate(zip(position.tolist(), labels, strict=True)):
        if nth == 0:
            recent, counts = deque(), Counter()
        elif counts:
            share[place] = max(counts.values()) / len(recent)
        recent.append(own)
        counts.update(own)
        if len(recent) > HISTORY:
            counts.subtract(recent.popleft())
    return share


def _item_facts(item: Ints, day: Ints, target: Ints, row_day: Ints) -> dict[str, NDArray]:
    total = _earlier(item, day, target, row_day)
    last = {days: total - _earlier(item, day, target, row_day - days) for days in (7, 30, 90)}
    first = np.full(max(item.max(), target.max()) + 1, _SPAN)
    np.minimum.at(first, item, day)
    return {
        "popularity": np.log1p(total),
        **{f"popularity_{days}d": np.log1p(count) for days, count in last.items()},
        "trend": np.log1p(last[30]) - np.log1p((last[90] - last[30]) / 2),
        "item_age": _days(row_day - first[target], first[target] < row_day),
    }


def _tastes(user: Ints, item: Ints, position: Ints, day: Ints, items: pa.Table, rows: pa.Table) -> dict[str, NDArray]:
    """How often, and when last, the user took the target's brand and categories among the last HISTORY."""
    row_user, target, row_day, until = (_integers(rows, name) for name in ("user", "item", "day", "position"))
    since = np.maximum(until - HISTORY, 0)
    first = items["item"][0].as_py()
    brand = items["brand_id"].to_numpy()
    branded = brand[item - first] > 0
    brands = _Occurrences(user[branded], brand[item - first][branded], position[branded])
    brand_count = brands.between(row_user, brand[target - first], since, until)
    lists = items["category_ids"].combine_chunks()
    owner, label = np.repeat(np.arange(len(lists)), lists.value_lengths().to_numpy()), lists.flatten().to_numpy()
    place, labels = _exploded(item - first, owner, label)
    taken = _Occurrences(user[place], labels, position[place])
    row, wanted = _exploded(target - first, owner, label)
    count = np.bincount(row, taken.between(row_user[row], wanted, since[row], until[row]), minlength=len(target))
    newest = np.full(len(target), -1)
    np.maximum.at(newest, row, taken.newest(row_user[row], wanted, since[row], until[row]))
    last_day = day[np.searchsorted(user, row_user) + np.maximum(newest, 0)]
    return {
        "brand_count": np.log1p(brand_count),
        "category_count": np.log1p(count),
        "days_since_category": _days(np.subtract(row_day, last_day), newest >= 0),
    }


class _Occurrences:
    """Positions at which users took something that carries a label."""

    def __init__(self, user: Ints, label: Ints, position: Ints) -> None:
        self.labels = int(label.max(initial=0)) + 1
        self.keys = np.sort((user * self.labels + label) * _SPAN + position)

    def between(self, user: Ints, label: Ints, since: Ints, until: Ints) -> Ints:
        """How many lie at since <= position < until."""
        key = self._key(user, label)
        return np.searchsorted(self.keys, key + until) - np.searchsorted(self.keys, key + since)

    def newest(self, user: Ints, label: Ints, since: Ints, until: Ints) -> Ints:
        """The last of these positions; -1 if there is none."""
        last = np.searchsorted(self.keys, self._key(user, label) + until) - 1
        found = self.between(user, label, since, until) > 0
        return np.where(found, self.keys[np.maximum(last, 0)] % _SPAN, -1)

    def _key(self, user: Ints, label: Ints) -> Ints:
        known = label < self.labels
        return np.where(known, user * self.labels + label, -1) * _SPAN


def _exploded(which: Ints, owner: Ints, label: Ints) -> tuple[Ints, Ints]:
    """For each of `which` all labels of that owner: places in `which`, and labels. `owner` ascends."""
    start, stop = np.searchsorted(owner, which), np.searchsorted(owner, which, side="right")
    place = np.repeat(np.arange(len(which)), stop - start)
    return place, label[np.arange(len(place)) - np.repeat((stop - start).cumsum() - stop, stop - start)]


def _together(user: Ints, item: Ints, day: Ints, target: Ints, row_day: Ints, history_RL: Ints) -> Ints:
    """How often the target was taken together with the history's items, as its list at the start of the period says."""
    size, period = int(max(item.max(), target.max())) + 1, row_day // _PERIOD
    near = [(later, later - lag) for lag in range(1, HISTORY + 1) for later in [_same_user(user, lag)]]
    one, other = (np.concatenate(side) for side in zip(*near, strict=True))
    pairs = item[one] != item[other]
    one, other = one[pairs], other[pairs]
    counted = day[one] // _PERIOD + 1  # from the start of this period on
    order = np.argsort(counted, kind="stable")
    one, other, counted = item[one][order], item[other][order], counted[order]
    total, matrix, done = np.zeros(len(target), dtype=np.int64), sparse.csr_array((size, size), dtype=np.int64), 0
    for now in np.unique(period):
        upto = np.searchsorted(counted, now, side="right")
        fresh = (np.concatenate([one[done:upto], other[done:upto]]), np.concatenate([other[done:upto], one[done:upto]]))
        matrix, done = (
            matrix + sparse.csr_array((np.ones(len(fresh[0]), dtype=np.int64), fresh), shape=(size, size)),
            upto,
        )
        rows = np.flatnonzero(period == now)
        for part in np.array_split(rows, 1 + len(rows) // _CHUNK):
            total[part] = _listed(matrix, target[part], history_RL[part])
    return total


def _listed(matrix: sparse.csr_array, target: Ints, history_RL: Ints) -> Ints:
    wanted, which = np.unique(target, return_inverse=True)
    listed_XK, count_XK = np.zeros((2, len(wanted), NEIGHBOURS), dtype=np.int64)
    for place, one in enumerate(wanted.tolist()):
        span = slice(matrix.indptr[one], matrix.indptr[one + 1])
        others, counts = matrix.indices[span], matrix.data[span]
        best = np.lexsort((others, np.negative(counts)))[:NEIGHBOURS]
        listed_XK[place, : len(best)], count_XK[place, : len(best)] = others[best], counts[best]
    seen_RK = (listed_XK[which][:, :, None] == history_RL[:, None, :]).any(axis=2)
    return (count_XK[which] * seen_RK).sum(axis=1)


def _same_user(user: Ints, lag: int) -> Ints:
    return np.flatnonzero(user[lag:] == user[:-lag]) + lag


def _earlier(item: Ints, day: Ints, target: Ints, row_day: Ints) -> Ints:
    """How many interactions each target has on days before its row's day."""
    span = 1 << 32  # more than any day number
    events = np.sort(item * span + day)
    return np.searchsorted(events, target * span + row_day) - np.searchsorted(events, target * span - span // 2)


def _days(days: Ints, known: NDArray[np.bool_]) -> Floats:
    return np.where(known, np.log1p(np.maximum(days, 0)), NEVER)


def _integers(table: pa.Table, name: str) -> Ints:
    return table[name].to_numpy().astype(np.int64)


def _lists(values_RL: Ints) -> pa.Array:
    flat = pa.array(values_RL.ravel())
    return pa.FixedSizeListArray.from_arrays(flat, values_RL.shape[1]).cast(pa.list_(pa.int64()))


def _comparable(column: pa.ChunkedArray) -> NDArray:
    """Values as a matrix; nulls and lists of other lengths as a vector that equals nothing."""
    if not pa.types.is_list(column.type):
        return column.to_numpy(zero_copy_only=False)
    values = column.combine_chunks()
    whole = values.flatten().to_numpy(zero_copy_only=False)
    if values.null_count == 0 and len(values) and (values.value_lengths().to_numpy() == HISTORY).all():
        return whole.reshape(len(values), -1)
    return np.full(len(values) + 1, np.nan)
