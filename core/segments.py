"""Parts of the rows: by how much is known of the user and of the item on the row's day, or was in training.

What both stages measure their metrics on. A segment says of rows of `schemas.TRAINING_ROWS` which belong to it; some
overlap. Those of `COLD` look at the training rows too: a model has learnt nothing of the user or of the item.
"""

from collections.abc import Callable

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from core.contracts import PAD

NEW_DAYS = 30
Mask = NDArray[np.bool_]


def _history(rows: pa.Table) -> NDArray[np.int64]:
    history = rows["history"].combine_chunks()
    return (history.flatten().to_numpy().reshape(rows.num_rows, -1) != PAD).sum(axis=1)


def _new(rows: pa.Table) -> Mask:
    return np.expm1(rows["item_age"].to_numpy()).round() < NEW_DAYS  # NEVER lies below every number of days


def _popular(rows: pa.Table) -> Mask:
    popularity = rows["popularity"].to_numpy()
    return popularity >= np.quantile(popularity, 0.75)


SEGMENTS: dict[str, Callable[[pa.Table], Mask]] = {
    "history of 0-4": lambda rows: _history(rows) < 5,
    "history of 5-9": lambda rows: (_history(rows) >= 5) & (_history(rows) < 10),
    "history of 10 and more": lambda rows: _history(rows) >= 10,
    "new items": _new,  # first taken less than NEW_DAYS before, or never
    "older items": lambda rows: ~_new(rows),
    "popular items": _popular,  # a quarter of the rows, by takings before the row's day
    "less popular items": lambda rows: ~_popular(rows),
}


def _without_training_rows(column: str) -> Callable[[pa.Table, pa.Table], Mask]:
    def segment(rows: pa.Table, every: pa.Table) -> Mask:
        learnt = (every["split"].to_numpy() == "train") & (every["label"].to_numpy() == 1)
        return ~np.isin(rows[column].to_numpy(), every[column].to_numpy()[learnt])

    return segment


COLD: dict[str, Callable[[pa.Table, pa.Table], Mask]] = {  # of some rows and of all rows of the workspace
    "items without training rows": _without_training_rows("item"),
    "users without training rows": _without_training_rows("user"),
}
