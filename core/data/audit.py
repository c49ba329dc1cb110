"""Checks of the leak rule on prepared tables. Each returns the numbers of the rows that break it."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from core.contracts import HISTORY, PAD

Rows = NDArray[np.int64]


def history_violations(rows: pa.Table, interactions: pa.Table) -> Rows:
    """Rows whose history is not the user's last items before the row's position, oldest first, PAD on the left."""
    known = _sequences(interactions)
    found = []
    for row in rows.select(["row", "user", "position", "history"]).to_pylist():
        earlier = known[row["user"]][: row["position"]][-HISTORY:]
        if row["history"] != [PAD] * (HISTORY - len(earlier)) + earlier:
            found.append(row["row"])
    return np.array(found, dtype=np.int64)


def popularity_violations(rows: pa.Table, interactions: pa.Table) -> Rows:
    """Rows whose popularity is not the count of the item's interactions on strictly earlier days."""
    days: dict[int, list[int]] = {}
    for item, day in zip(interactions["item"].to_pylist(), interactions["day"].to_pylist(), strict=True):
        days.setdefault(item, []).append(day)
    sorted_days = {item: np.sort(values) for item, values in days.items()}
    item, day, stated = (rows[name].to_numpy() for name in ("item", "day", "popularity"))
    counts = np.array([np.searchsorted(sorted_days.get(i, ()), d) for i, d in zip(item, day, strict=True)])
    return rows["row"].to_numpy()[~np.isclose(np.expm1(stated), counts, rtol=1e-4, atol=1e-3)]


def negative_violations(rows: pa.Table, interactions: pa.Table) -> Rows:
    """Negatives that their user has taken at some time."""
    width = 1 + max(table["item"].to_numpy().max() for table in (rows, interactions))
    pair, taken = (table["user"].to_numpy() * width + table["item"].to_numpy() for table in (rows, interactions))
    wrong = (rows["label"].to_numpy() == 0) & np.isin(pair, taken)
    return rows["row"].to_numpy()[wrong]


def _sequences(interactions: pa.Table) -> dict[int, list[int]]:
    """The items of each user in order; `interactions` sorted by user and position."""
    sequences: dict[int, list[int]] = {}
    for user, item in zip(interactions["user"].to_pylist(), interactions["item"].to_pylist(), strict=True):
        sequences.setdefault(user, []).append(item)
    return sequences
