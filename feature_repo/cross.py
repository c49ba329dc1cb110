"""What depends on the user and the item, or on the day of the request: the on-demand view's arithmetic.

Feast calls it for the training join and for online reads alike, so the code that serves is the code that trains. NumPy
only. Suffixes: B rows, L history, C categories an item, X = L * C, K listed neighbours.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

FEATURES = {
    "recency": "log1p of days since the user's last interaction",
    "item_age": "log1p of days since the item's first interaction",
    "brand_count": "log1p of the history's items of this brand",
    "category_count": "log1p of how many categories the history's items share with it",
    "days_since_category": "log1p of days since the history's last item that shares a category",
    "cooccurrence": "log1p of how often it was taken together with the history's items",
}
SCALARS = ("day", "first_day", "brand_id")
LISTS = (
    "history", "history_days", "history_brands", "history_categories", "category_ids", "neighbours", "neighbour_counts"
)  # fmt: skip
NEVER = -1.0  # of features that count days: it has not happened yet


def cross(inputs: pd.DataFrame) -> pd.DataFrame:
    """The on-demand features of rows that hold SCALARS and LISTS; a missing value is None or NaN."""
    columns = {str(name): values.to_numpy(float) for name, values in inputs[list(SCALARS)].items()}
    columns |= {name: _matrix(list(inputs[name])) for name in LISTS}
    return pd.DataFrame(features(columns), index=inputs.index)


def features(columns: dict[str, NDArray]) -> dict[str, NDArray[np.float32]]:
    """The same on arrays; a row that lacks a value holds NaN or zeros, which read as nothing known."""
    day_B = np.nan_to_num(columns["day"])
    days_BL, first_day_B = columns["history_days"], np.nan_to_num(columns["first_day"])
    hits_BL = _shared_categories(columns["history_categories"], columns["category_ids"], days_BL.shape[1])
    brand_B1 = np.nan_to_num(columns["brand_id"])[:, None]
    counts_BK = np.where(_listed(columns["neighbours"], columns["history"]), columns["neighbour_counts"], 0)
    last_B, alike_B = days_BL.max(axis=1), np.where(hits_BL > 0, days_BL, 0).max(axis=1)
    found = {
        "recency": _log_days(day_B, last_B),
        "item_age": _log_days(day_B, first_day_B),
        "brand_count": np.log1p(((columns["history_brands"] == brand_B1) & (brand_B1 > 0)).sum(axis=1)),
        "category_count": np.log1p(hits_BL.sum(axis=1)),
        "days_since_category": _log_days(day_B, alike_B),
        "cooccurrence": np.log1p(counts_BK.sum(axis=1)),
    }
    return {name: values.astype(np.float32) for name, values in found.items()}


def _shared_categories(taken_BX: NDArray, wanted_BC: NDArray, length: int) -> NDArray:
    """How many of the target's categories each item of the history has, (B, L)."""
    same_BXC = (taken_BX[:, :, None] == wanted_BC[:, None, :]) & (wanted_BC[:, None, :] > 0)
    return same_BXC.any(axis=2).reshape(len(taken_BX), length, -1).sum(axis=2)


def _listed(neighbours_BK: NDArray, history_BL: NDArray) -> NDArray:
    """Which of the listed neighbours are in the history, (B, K)."""
    return (neighbours_BK[:, :, None] == history_BL[:, None, :]).any(axis=2) & (neighbours_BK > 0)


def _log_days(day_B: NDArray, since_B: NDArray) -> NDArray:
    return np.where(since_B > 0, np.log1p(np.maximum(day_B - since_B, 0)), NEVER)


def _matrix(lists: list) -> NDArray:
    """A column of equally long lists as a matrix; rows without one are zeros."""
    width = next((len(one) for one in lists if one is not None), 1)
    nothing = np.zeros(width, dtype=np.int64)
    return np.stack([nothing if one is None else one for one in lists])
