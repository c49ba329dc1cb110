"""`llmcf data prepare`: raw tables -> interactions, items, users and leave-one-out rows with frozen negatives."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from core import schemas, steps, storage
from core.contracts import CATEGORIES, FIRST_ID, PAD, SPLITS
from core.data import DATASETS, negatives, raw, splits, texts
from core.errors import UsageError, unknown
from core.runs import Estimate, Result
from core.settings import LATEST, Workspace

_CODE = ("prepare", "raw", "splits", "negatives", "texts")


def prepare(ws: Workspace, *, source: Path | None, seed: int) -> Result:
    """Fill `data/`. `source` is a folder with the data set's official files; None takes the default carrier.

    Raises:
        UsageError: for an unknown data set, a malformed source, or no data before `as_of`.
    """
    dataset = _dataset(ws)
    files = dataset.files(source)
    step = steps.Step(
        folder=ws.path("data"),
        config={"dataset": ws.dataset, "order": ws.order, "as_of": ws.as_of, "seed": seed},
        inputs=files,
        code=(*(f"core/data/{name}.py" for name in _CODE), *dataset.code),
    )

    def work(folder: Path) -> dict[str, Any]:
        tables = build(dataset.read(files), ws, seed)
        for name, table in tables.items():
            storage.write_table(folder / f"{name}.parquet", table, _SCHEMAS[name])
        return _summary(tables)

    done = steps.run(step, work)
    return Result(
        verb="data prepare",
        workspace=ws,
        seed=seed,
        skipped=done.skipped,
        seconds=done.seconds,
        artifacts={name: str(done.folder / f"{name}.parquet") for name in _SCHEMAS},
        details=done.summary,
    )


def estimate_prepare(ws: Workspace) -> Estimate:
    """What `prepare` would take for the complete data set."""
    interactions, items, users = _dataset(ws).counts
    return Estimate(
        seconds=3 + interactions * 2e-5,
        memory_mib=150 + interactions * 1.5e-3,
        disk_mib=22 + interactions * 3e-5,
        basis=f"{interactions:,} interactions, {items:,} items, {users:,} users at about 50,000 interactions a second "
        "on one core, and a carrier wheel of at most 22 MiB",
    )


_SCHEMAS = {
    "interactions": schemas.INTERACTIONS,
    "items": schemas.ITEMS,
    "users": schemas.USERS,
    "rows": schemas.ROWS,
}


def build(tables: raw.RawTables, ws: Workspace, seed: int) -> dict[str, pa.Table]:
    """The four prepared tables.

    Ids are given in order of first appearance in time, so a later `as_of` keeps the rows of an earlier one. Users and
    items without any interaction before `as_of` are left out.

    Raises:
        UsageError: if nothing is left, or too little for a validation and a test split.
    """
    events = _before(tables.interactions, ws)
    user, known_users = _vocabulary(events["user"], events["timestamp"])
    item, known_items = _vocabulary(events["item"], events["timestamp"])
    order = splits.sequence_order(user, events["timestamp"].to_numpy(), ws.order, seed)
    interactions = _interactions(user[order], item[order], events.take(pa.array(order)))
    return {
        "interactions": interactions,
        "items": _items(tables.items, known_items),
        "users": _users(tables.users, known_users),
        "rows": _rows(interactions, len(known_items), ws.order, seed),
    }


def _dataset(ws: Workspace) -> raw.Dataset:
    if ws.dataset not in DATASETS:
        raise unknown("dataset", ws.dataset, DATASETS)
    return DATASETS[ws.dataset]


def _before(events: pa.Table, ws: Workspace) -> pa.Table:
    """Interactions before the start of `as_of`, each (user, item, timestamp) once."""
    if ws.as_of != LATEST:
        end = int(datetime.fromisoformat(ws.as_of).replace(tzinfo=UTC).timestamp())
        events = events.filter(pa.array(events["timestamp"].to_numpy() < end))
    if events.num_rows == 0:
        raise UsageError(f"{ws.dataset} has no interaction before --as-of {ws.as_of}")
    numbered = events.append_column("index", pa.array(np.arange(events.num_rows)))
    first = numbered.group_by(["user", "item", "timestamp"]).aggregate([("index", "min")])["index_min"]
    return events.take(pa.array(np.sort(first)))


def _vocabulary(raw_ids: pa.ChunkedArray, timestamp: pa.ChunkedArray) -> tuple[splits.Ints, pa.Array]:
    """Ids of all rows, and the raw id of each vocabulary row from FIRST_ID on."""
    encoded = raw_ids.combine_chunks().dictionary_encode()
    codes = encoded.indices.to_numpy()
    in_time = np.argsort(timestamp.to_numpy(), kind="stable")
    present, first = np.unique(codes[in_time], return_index=True)
    by_appearance = present[np.argsort(first)]
    rank = np.empty(len(present), dtype=np.int64)
    rank[by_appearance] = np.arange(len(present))
    return rank[codes] + FIRST_ID, encoded.dictionary.take(pa.array(by_appearance))


def _interactions(user: splits.Ints, item: splits.Ints, events: pa.Table) -> pa.Table:
    timestamp = events["timestamp"].to_numpy()
    return pa.table(
        {
            "user": user,
            "item": item,
            "position": splits.positions(user),
            "timestamp": timestamp,
            "day": timestamp // splits.DAY,
            "rating": events["rating"],
        }
    ).cast(schemas.INTERACTIONS)


def _items(known: pa.Table, raw_ids: pa.Array) -> pa.Table:
    found = _take(known, raw_ids)
    titles = [texts.clean(title, texts.TITLE_LIMIT) for title in found["title"].to_pylist()]
    brands = [texts.clean(brand, texts.LABEL_LIMIT) for brand in found["brand"].to_pylist()]
    labels = [
        [label for name in names or [] if (label := texts.clean(name, texts.LABEL_LIMIT))]
        for names in found["categories"].to_pylist()
    ]
    brand_rows = _label_rows([[brand] if brand else [] for brand in brands])
    category_rows = _label_rows(labels)
    return pa.table(
        {
            "item": pa.array(range(FIRST_ID, FIRST_ID + len(raw_ids)), pa.int64()),
            "raw_id": raw_ids,
            "title": titles,
            "brand": brands,
            "categories": pa.array(labels, pa.list_(pa.string())),
            "brand_id": pa.array([brand_rows.get(brand, PAD) for brand in brands], pa.int64()),
            "category_ids": [[category_rows[label] for label in names[:CATEGORIES]] for names in labels],
            "text": [texts.item_text(*parts) for parts in zip(titles, brands, labels, strict=True)],
        }
    )


def _take(known: pa.Table, raw_ids: pa.Array) -> pa.Table:
    """The rows of `known` that `raw_ids` name, in their order."""
    places = {raw_id: place for place, raw_id in enumerate(known["raw_id"].to_pylist())}
    return known.take(pa.array([places[raw_id] for raw_id in raw_ids.to_pylist()], pa.int64()))


def _label_rows(labels: list[list[str]]) -> dict[str, int]:
    """Vocabulary rows of brands or categories, in order of first use."""
    names = dict.fromkeys(name for group in labels for name in group)
    return {name: row for row, name in enumerate(names, start=FIRST_ID)}


def _users(known: pa.Table, raw_ids: pa.Array) -> pa.Table:
    found = _take(known, raw_ids)
    columns = [found[name].to_pylist() for name in ("age", "gender", "occupation")]
    profiles = [texts.user_profile(*parts) for parts in zip(*columns, strict=True)]
    ids = pa.array(range(FIRST_ID, FIRST_ID + len(raw_ids)), pa.int64())
    return (
        found.drop_columns("raw_id")
        .add_column(0, "user", ids)
        .append_column("raw_id", raw_ids)
        .append_column("profile", pa.array(profiles))
    )


def _rows(interactions: pa.Table, items: int, order: str, seed: int) -> pa.Table:
    """Positive of interaction i at row 2i, its negative at 2i + 1."""
    columns = {name: interactions[name].to_numpy() for name in ("user", "item", "position", "timestamp", "day")}
    codes = splits.split_codes(columns["user"], columns["day"], order)
    negative = negatives.uniform(columns["user"], columns["item"], items, seed)
    doubled = {name: np.repeat(values, 2) for name, values in columns.items()}
    doubled["item"][1::2] = negative
    count = len(codes)
    return pa.table(
        {
            "row": np.arange(2 * count),
            "split": pa.array(SPLITS).take(pa.array(np.repeat(codes, 2))),
            "label": np.tile([1, 0], count),
            **doubled,
        }
    )


def _summary(tables: dict[str, pa.Table]) -> dict[str, Any]:
    counts = tables["rows"]["split"].value_counts().to_pylist()
    interactions, items, users = (tables[name].num_rows for name in ("interactions", "items", "users"))
    return {
        "interactions": interactions,
        "items": items,
        "users": users,
        "density": interactions / (items * users),
        "rows": {entry["values"]: entry["counts"] for entry in counts},
    }
