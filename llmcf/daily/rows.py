"""The rows that a day is judged on: what was taken on it, each beside one item that its user might have taken.

They are the same whatever came later, so that every workspace that holds the day whole gives the same rows. The
negative of a training row knows more: an item that its user never takes, of all that are ever on sale. Here it is drawn
uniformly from the items that somebody took on an earlier day and this user on none up to the row's.

Suffixes: P positives, V items by the day they were first taken, T pairs of user and item.
"""

import hashlib
from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from core import schemas
from core.data import asof, sampling

Ints = NDArray[np.int64]
_SPLIT = "day"  # none of the splits: such a row is held out by its day alone
_TURNS = 20  # in which negatives are drawn blindly; for what is left they are counted off
_SPAN = 1 << 32  # more than any item


def by_day(days: Ints, interactions: pa.Table, items: pa.Table, *, seed: int) -> dict[int, pa.Table]:
    """`schemas.TRAINING_ROWS` of those of the days on which something was taken, by user, position, positive first.

    Features are as of each row's moment: strictly earlier days, and its user's earlier positions.

    Args:
        interactions, items: the workspace's tables.
        seed: of the negatives.
    """
    at_P = np.flatnonzero(np.isin(interactions["day"].to_numpy(), days))
    if not len(at_P):
        return {}
    positives = _positives(interactions, at_P)
    drawn_P = _Takings.of(interactions).negatives(positives, seed)
    rows = pa.concat_tables([positives, _negatives(positives, drawn_P)]).sort_by("row")
    joined = asof.attach(rows, interactions, items)
    day_N = joined["day"].to_numpy()
    return {int(day): joined.filter(pa.array(day_N == day)) for day in np.unique(day_N)}


def digest(rows: pa.Table) -> str:
    """Of what a day's rows say; how they are numbered depends on the other days."""
    made = hashlib.sha256()
    for name in rows.column_names:
        if name not in ("row", "split"):
            values = rows[name].combine_chunks()
            values = values.flatten() if pa.types.is_list(values.type) else values
            made.update(f"{name} {len(values)} ".encode() + values.to_numpy(zero_copy_only=False).tobytes())
    return made.hexdigest()


def _positives(interactions: pa.Table, at_P: Ints) -> pa.Table:
    taken = interactions.select(["user", "item", "position", "timestamp", "day"]).take(at_P)
    same = {
        "row": pa.array(2 * at_P),
        "split": pa.repeat(_SPLIT, len(at_P)),
        "label": pa.repeat(1, len(at_P)),
        "draw": pa.repeat(0, len(at_P)),
    }
    for name, values in same.items():
        taken = taken.append_column(name, values)
    return taken.select(schemas.ROWS.names).cast(schemas.ROWS)


def _negatives(positives: pa.Table, drawn_P: Ints) -> pa.Table:
    """A row beside each positive that has a negative; 0 is none."""
    columns = {name: positives[name] for name in positives.column_names}
    columns["row"] = pa.array(positives["row"].to_numpy() + 1)
    columns["item"] = pa.array(drawn_P)
    columns["label"] = pa.repeat(0, positives.num_rows).cast(pa.int8())
    return pa.table(columns, schema=schemas.ROWS).filter(pa.array(drawn_P > 0))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Takings:
    """When each item, and each user's item, was first taken.

    Args:
        item_V, first_V: by first day, then item.
        pair_T, day_T: user and item as one number, ascending, and the first day.
    """

    item_V: Ints
    first_V: Ints
    pair_T: Ints
    day_T: Ints

    @classmethod
    def of(cls, interactions: pa.Table) -> Self:
        user, item, day = (interactions[name].to_numpy().astype(np.int64) for name in ("user", "item", "day"))
        order = np.lexsort((item, day))
        item_V, at = np.unique(item[order], return_index=True)
        first_V = day[order][at]
        by_first = np.lexsort((item_V, first_V))
        by_pair = np.argsort(day, kind="stable")
        pair_T, at = np.unique((user * _SPAN + item)[by_pair], return_index=True)
        return cls(item_V=item_V[by_first], first_V=first_V[by_first], pair_T=pair_T, day_T=day[by_pair][at])

    def negatives(self, positives: pa.Table, seed: int) -> Ints:
        """An item for each positive, 0 where its user had taken all there was, (P,)."""
        user, day = (positives[name].to_numpy().astype(np.int64) for name in ("user", "day"))
        open_P = np.searchsorted(self.first_V, day)
        drawn_P = np.zeros(len(user), dtype=np.int64)
        left = np.flatnonzero(open_P)
        for turn in range(_TURNS):
            number = sampling.numbers(positives.take(left), seed=seed, purpose=f"negative of a day, {turn}")
            tried = self.item_V[(number % open_P[left].astype(np.uint64)).astype(np.int64)]
            free = ~self._taken(user[left], tried, day[left])
            drawn_P[left[free]] = tried[free]
            left = left[~free]
        for place, number in zip(
            left, sampling.numbers(positives.take(left), seed=seed, purpose="negative of a day, free"), strict=True
        ):
            known = self.item_V[: open_P[place]]
            free = known[~self._taken(np.full(len(known), user[place]), known, np.full(len(known), day[place]))]
            if len(free):
                drawn_P[place] = free[int(number % np.uint64(len(free)))]
        return drawn_P

    def _taken(self, user: Ints, item: Ints, day: Ints) -> NDArray[np.bool_]:
        """Whether a user had taken an item by the end of a day."""
        pair = user * _SPAN + item
        at = np.minimum(np.searchsorted(self.pair_T, pair), len(self.pair_T) - 1)
        return (self.pair_T[at] == pair) & (self.day_T[at] <= day)
