"""Items that were added since the data was prepared, as the feature store has them."""

from collections.abc import Container, Mapping, Sequence

import numpy as np
import pyarrow as pa

from core import storage
from core.contracts import CATEGORIES, PAD
from core.data import added, dated, features, vocabulary
from core.data.added import Item
from core.settings import Workspace


def offered(prepared: pa.Table) -> frozenset[str]:
    """Raw ids of the catalogue in the workspace's `tables.items`."""
    return frozenset(prepared.filter(prepared["offered"])["raw_id"].to_pylist())


def items(ws: Workspace, known: Container[str]) -> list[Item]:
    """The added items that are not `known`, to the prepared catalogue."""
    return [one for one in added.items(ws) if one.raw_id not in known]


def labels(ws: Workspace, new: Sequence[Item]) -> tuple[np.ndarray, np.ndarray]:
    """Brand rows (N,) and category rows (N, C) of items.

    A brand or a category that the vocabulary does not have is PAD: models have learnt nothing of it, and their UNKNOWN
    rows are trained for users and items only.
    """
    brands, categories = (vocabulary.rows(ws.dataset, kind) for kind in ("brands", "categories"))
    categories_NC = np.full((len(new), CATEGORIES), PAD)
    for row_C, one in zip(categories_NC, new, strict=True):
        known = [categories[name] for name in dict.fromkeys(one.categories) if name in categories][:CATEGORIES]
        row_C[: len(known)] = known
    return np.array([brands.get(one.brand, PAD) for one in new], dtype=np.int64), categories_NC


def attributes(ws: Workspace, new: Sequence[Item], rows: Mapping[str, int]) -> pa.Table:
    """`features.ITEM_ATTRIBUTES` of items, dated as those of the prepared ones are.

    Args:
        rows: of the vocabulary, by raw id.
    """
    brand_N, categories_NC = labels(ws, new)
    time = storage.parquet(ws.path("features", "item_attributes.parquet"), ["event_timestamp"])[0][0]
    return pa.table(
        {
            "item": pa.array([rows[one.raw_id] for one in new], pa.int64()),
            "event_timestamp": pa.repeat(time, len(new)),
            "title": [one.title for one in new],
            "brand_id": brand_N,
            "category_ids": dated.as_lists(categories_NC),
        }
    ).cast(features.ITEM_ATTRIBUTES)
