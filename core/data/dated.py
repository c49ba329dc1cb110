"""How moments and lists are written in the feature tables: event times in microseconds, UTC.

A user's state before position p of day d is dated d 00:00 plus p milliseconds, an item's state at the start of day d is
dated d 00:00. A row is dated like the state of its position, so an inclusive join finds exactly that state.
"""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Ints = NDArray[np.int64]

DAY_US = 86_400_000_000
POSITION_US = 1_000  # one position a millisecond after the start of its day
ROW_US = 1  # rows of one position stand a microsecond apart: Feast's file store drops those that share entity and time
EVENT_TIME = pa.timestamp("us", tz="UTC")


def times(day: Ints, offset_us: Ints | int = 0) -> pa.Array:
    """Event times of moments `offset_us` after the start of days since 1970-01-01."""
    return pa.array(day.astype(np.int64) * DAY_US + offset_us).cast(EVENT_TIME)


def row_times(day: Ints, position: Ints, place: Ints) -> pa.Array:
    """The entity times of training rows; `place` counts the rows of one interaction from 0."""
    return times(day, position * POSITION_US + place * ROW_US)


def as_lists(values_SL: NDArray, kind: pa.DataType | None = None) -> pa.Array:
    """A matrix as a column of lists of `kind`, int64 by default."""
    flat = pa.array(values_SL.ravel(), kind or pa.int64())
    return pa.FixedSizeListArray.from_arrays(flat, values_SL.shape[1]).cast(pa.list_(kind or pa.int64()))
