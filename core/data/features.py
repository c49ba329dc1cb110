"""`llmcf features build`: dated feature tables, stored such that Feast's inclusive join obeys the leak rule.

Feast joins the newest state whose time is <= the row's. A user state "before position p" is stored at the moment of
position p, an item state "at the start of day d" at d 00:00, so neither ever holds what comes with or after the row.
What depends on both, or on the day of the request, is computed from these states by the on-demand view in
feature_repo/.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from core import steps, storage
from core.data import dated, tables
from core.data.cooccurrence import neighbour_states
from core.data.dated import EVENT_TIME
from core.data.histories import Attributes, state_blocks
from core.data.popularity import WINDOWS, Counts, item_states, log1p
from core.result import Result
from core.settings import Workspace

_ITEMS = pa.list_(pa.int64())
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
        ("history", _ITEMS),
        ("history_days", pa.list_(pa.int32())),
        ("history_brands", pa.list_(pa.int32())),
        ("history_categories", pa.list_(pa.int32())),  # contracts.CATEGORIES for each item of the history
        ("activity", pa.float32()),
        ("taste_popularity", pa.float32()),
        ("brand_affinity", pa.float32()),
        ("category_affinity", pa.float32()),
    ]
)
ITEM_ATTRIBUTES = pa.schema(
    [
        ("item", pa.int64()),
        ("event_timestamp", EVENT_TIME),
        ("title", pa.string()),
        ("brand_id", pa.int64()),
        ("category_ids", _ITEMS),  # padded on the right to contracts.CATEGORIES
    ]
)
ITEM_POPULARITY = pa.schema(
    [
        ("item", pa.int64()),
        ("event_timestamp", EVENT_TIME),
        ("popularity", pa.float32()),
        *((f"popularity_{days}d", pa.float32()) for days in WINDOWS),
        ("trend", pa.float32()),
        ("first_day", pa.int32()),  # 0 until somebody has taken it
    ]
)
ITEM_NEIGHBOURS = pa.schema(
    [
        ("item", pa.int64()),
        ("event_timestamp", EVENT_TIME),
        ("neighbours", _ITEMS),
        ("neighbour_counts", pa.list_(pa.int32())),
    ]
)
SCHEMAS = {
    "user_profile": USER_PROFILE,
    "user_history": USER_HISTORY,
    "item_attributes": ITEM_ATTRIBUTES,
    "item_popularity": ITEM_POPULARITY,
    "item_neighbours": ITEM_NEIGHBOURS,
}


CODE = [f"core/data/{name}.py" for name in ("features", "dated", "histories", "popularity", "cooccurrence")]


def build(ws: Workspace) -> Result:
    """Fill `features/` with one Parquet table a feature view."""
    data = ws.path("data")
    steps.require(data, tables.remedy(ws, "data prepare"))
    step = steps.Step(folder=ws.path("features"), config={}, inputs=[data], code=CODE)

    def work(folder: Path) -> dict[str, Any]:
        made = parts(tables.interactions(ws), tables.items(ws), tables.users(ws))
        return {name: storage.write_parts(folder / f"{name}.parquet", made[name], SCHEMAS[name]) for name in made}

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
    """The five feature tables; `interactions` sorted by user and position. Items that are not offered have no row."""
    return {name: pa.concat_tables(found) for name, found in parts(interactions, items, users).items()}


def parts(interactions: pa.Table, items: pa.Table, users: pa.Table) -> dict[str, Iterable[pa.Table]]:
    """The same, each in tables that follow one another and are computed when they are asked for."""
    user, item, day = (interactions[name].to_numpy().astype(np.int64) for name in ("user", "item", "day"))
    attributes, items = Attributes.of(items), items.filter(items["offered"])
    first_day = dated.times(day.min(keepdims=True))[0]  # what is static is known from the start of the data

    def histories() -> Iterator[pa.Table]:
        yield from state_blocks(user, item, day, log1p(Counts(item, day).before(item, day)), attributes)

    def described() -> pa.Table:
        categories = dated.as_lists(attributes.categories_VC[items["item"].to_numpy()])
        named = items.select(["item", "title", "brand_id"]).append_column("category_ids", categories)
        return named.append_column("event_timestamp", pa.repeat(first_day, len(items)))

    def once(made: Callable[[], pa.Table]) -> Iterator[pa.Table]:
        yield made()

    profiles = users.drop_columns("raw_id").append_column("event_timestamp", pa.repeat(first_day, len(users)))
    return {
        "user_profile": [profiles],
        "user_history": histories(),
        "item_attributes": [described()],
        "item_popularity": once(lambda: item_states(item, day, items["item"].to_numpy())),
        "item_neighbours": once(lambda: neighbour_states(user, item, day)),
    }
