"""Samples of rows that hold when the data grows: what is drawn depends on the row itself, not on its place in a table.

A larger sample of the same seed and purpose contains the smaller, and of n + k rows the sample of n keeps all but about
k in n + k.
"""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from core import storage

_COLUMNS = ("user", "position", "item", "label")  # what a row is, in rows of vocabularies that only grow
_MULTIPLIERS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
_SHIFTS = (np.uint64(30), np.uint64(27), np.uint64(31))


def draw(rows: pa.Table, count: int | None, *, seed: int, purpose: str) -> pa.Table:
    """`count` rows (all of them for None), each equally likely, in the table's order.

    Args:
        purpose: samples of different purposes are independent of each other.
    """
    if count is None or count >= rows.num_rows:
        return rows
    return rows.take(np.sort(np.argpartition(numbers(rows, seed=seed, purpose=purpose), count)[:count]))


def draw_pairs(rows: pa.Table, count: int | None, *, seed: int, purpose: str) -> pa.Table:
    """`count` positives (all for None), each with the negative that belongs to it, in the table's order."""
    positives = draw(rows.filter(rows["label"].to_numpy() == 1), count, seed=seed, purpose=purpose)["row"].to_numpy()
    return rows.filter(np.isin(rows["row"].to_numpy(), np.concatenate([positives, positives + 1])))


def numbers(rows: pa.Table, *, seed: int, purpose: str) -> NDArray[np.uint64]:
    """A random number for each row, which is the same wherever and whenever the row is met."""
    salt = int(storage.digest(seed, purpose)[:16], 16)
    state = np.full(rows.num_rows, salt, dtype=np.uint64)
    for name in _COLUMNS:
        state = _mixed(state ^ rows[name].to_numpy().astype(np.uint64))
    return state


def _mixed(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finalizer of SplitMix64 (Steele, Lea and Flood, OOPSLA '14), in wrapping arithmetic."""
    state = state + np.uint64(0x9E3779B97F4A7C15)
    for shift, multiplier in zip(_SHIFTS[:2], _MULTIPLIERS, strict=True):
        state = (state ^ (state >> shift)) * multiplier
    return state ^ (state >> _SHIFTS[2])
