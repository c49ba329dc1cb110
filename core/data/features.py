"""`llmcf features build`: dated feature tables, stored such that Feast's inclusive join obeys the leak rule.

Feast joins the newest state whose time is <= the row's. A user state "before position p" is stored at the moment of
position p, an item state "at the start of day d" at d 00:00, so neither ever holds what comes with or after the row.
Suffixes: S snapshots, L history length.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from core import steps, storage
from core.contracts import CATEGORIES, HISTORY, PAD
from core.data import tables
from core.runs import Result
from core.settings import Workspace

Ints = NDArray[np.int64]

DAY_US = 86_400_000_000  # event times are in microseconds
POSITION_US = 1_000  # one position a millisecond after the start of its day
NEGATIVE_US = 1  # a negative right after its positive: Feast drops rows that share entity and time
WINDOW = 30  # days of popularity_30d

EVENT_TIME = pa.timestamp("us", tz="UTC")
USER_PROFILE = pa.schema(
    [
        ("user", pa.int64()),
        ("event_timestamp", EVENT_TIME),
        ("age", pa.int32()),
        ("gender", pa.string()),
        ("occupation", pa.string()),
        ("profile", pa.string()),
    ]
)
USER_HISTORY = pa.schema(
    [
        ("user", pa.int64()),
        ("event_timestamp", EVENT_TIME),
        ("history", pa.list_(pa.int64())),
        ("activity", pa.float32()),
    ]
)
ITEM_ATTRIBUTES = pa.schema(
    [
        ("item", pa.int64()),
        ("event_timestamp", EVENT_TIME),
        ("title", pa.string()),
        ("brand_id", pa.int64()),
        ("category_ids", pa.list_(pa.int64())),  # padded on the right to contracts.CATEGORIES
    ]
)
ITEM_POPULARITY = pa.schema(
    [
        ("item", pa.int64()),
        ("event_timestamp", EVENT_TIME),
        ("popularity", pa.float32()),
        ("popularity_30d", pa.float32()),
    ]
)
SCHEMAS = {
    "user_profile": USER_PROFILE,
    "user_history": USER_HISTORY,
    "item_attributes": ITEM_ATTRIBUTES,
    "item_popularity": ITEM_POPULARITY,
}


def build(ws: Workspace) -> Result:
    """Fill `features/` with one Parquet table a feature view."""
    data = ws.path("data")
    steps.require(data, tables.remedy(ws, "data prepare"))
    step = steps.Step(folder=ws.path("features"), config={}, inputs=[data], code=["core/data/features.py"])

    def work(folder: Path) -> dict[str, Any]:
        built = compute(tables.interactions(ws), tables.items(ws), tables.users(ws))
        for name, table in built.items():
            storage.write_table(folder / f"{name}.parquet", table, SCHEMAS[name])
        return {name: table.num_rows for name, table in built.items()}

    done = steps.run(step, work)
    return Result(
        verb="features build",
        workspace=ws,
        skipped=done.skipped,
        seconds=done.seconds,
        artifacts={name: str(done.folder / f"{name}.parquet") for name in SCHEMAS},
        details=done.summary,
    )


def compute(interactions: pa.Table, items: pa.Table, users: pa.Table) -> dict[str, pa.Table]:
    """The four feature tables; `interactions` sorted by user and position."""
    user, item, day = (interactions[name].to_numpy().astype(np.int64) for name in ("user", "item", "day"))
    first_day = _times(day.min(keepdims=True))  # what is static is known from the start of the data
    return {
        "user_profile": users.drop_columns("raw_id").append_column("event_timestamp", _repeat(first_day, users)),
        "user_history": user_snapshots(user, item, day),
        "item_attributes": items.select(["item", "title", "brand_id"])
        .append_column("category_ids", _padded(items["category_ids"]))
        .append_column("event_timestamp", _repeat(first_day, items)),
        "item_popularity": item_states(item, day, items["item"].to_numpy()),
    }


def event_times(day: Ints, position: Ints, negative: NDArray[np.bool_]) -> pa.Array:
    """The entity times of training rows."""
    return _times(day, position * POSITION_US + negative * NEGATIVE_US)


def histories(user: Ints, item: Ints, position: Ints) -> NDArray[np.int64]:
    """The HISTORY items before each interaction, (n, L), oldest first, PAD on the left; sorted by user and position."""
    places = np.arange(len(user))[:, None] + np.arange(-HISTORY, 0)
    inside = places >= (np.arange(len(user)) - position)[:, None]
    return np.where(inside, item[np.maximum(places, 0)], PAD)


def user_snapshots(user: Ints, item: Ints, day: Ints) -> pa.Table:
    """A state before each interaction of each user, and one after the last: what a request sees next."""
    last = np.flatnonzero(np.diff(user, append=-1))  # the closing snapshot follows its user's last interaction
    snap_user, snap_day = (np.insert(values, last + 1, values[last]) for values in (user, day))
    snap_item = np.insert(item, last + 1, PAD)
    position = np.arange(len(snap_user)) - np.searchsorted(snap_user, snap_user)
    return pa.table(
        {
            "user": snap_user,
            "event_timestamp": _times(snap_day, position * POSITION_US),
            "history": as_lists(histories(snap_user, snap_item, position)),
            "activity": np.log1p(position).astype(np.float32),
        }
    )


def item_states(item: Ints, day: Ints, catalogue: Ints) -> pa.Table:
    """Counts at the start of a day, for the first day and each later one on which an item's counts change."""
    first, end = day.min(), day.max() + 1  # `end` is the day of the online state
    span = end - first + 1
    events = np.sort(item * span + (day - first))
    states = np.concatenate([catalogue * span, events + 1, events + 1 + WINDOW])
    source = np.concatenate([catalogue, events // span, events // span])
    states = np.unique(states[states // span == source])  # a state beyond `end` would slip into the next item
    owner, age = states // span, states % span
    before = np.searchsorted(events, states)
    total = before - np.searchsorted(events, owner * span)
    recent = before - np.searchsorted(events, owner * span + np.maximum(age - WINDOW, 0))
    return pa.table(
        {
            "item": owner,
            "event_timestamp": _times(first + age),
            "popularity": np.log1p(total).astype(np.float32),
            "popularity_30d": np.log1p(recent).astype(np.float32),
        }
    )


def _times(day: Ints, offset_us: Ints | int = 0) -> pa.Array:
    return pa.array(day.astype(np.int64) * DAY_US + offset_us).cast(EVENT_TIME)


def _repeat(time: pa.Array, table: pa.Table) -> pa.Array:
    return pa.repeat(time[0], table.num_rows)


def as_lists(values_SL: NDArray[np.int64]) -> pa.Array:
    """A matrix as a column of lists."""
    width = values_SL.shape[1]
    return pa.FixedSizeListArray.from_arrays(pa.array(values_SL.ravel()), width).cast(pa.list_(pa.int64()))


def _padded(ids: pa.ChunkedArray) -> pa.Array:
    return pa.array([row + [PAD] * (CATEGORIES - len(row)) for row in ids.to_pylist()], pa.list_(pa.int64()))
