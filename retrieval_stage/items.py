"""The item index: item vectors in Milvus with what searches filter by, and an exact replica of them for serving.

Milvus Lite is far too slow for an online budget, so a release's vectors are read out of the collection once and
searched by a matrix product. Milvus itself gives the same answer (tests prove it).

Suffixes: V items of the index, B users, W width, C categories an item, k results.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from core.contracts import CATEGORIES, PAD
from core.data import tables
from core.settings import Workspace
from ict import milvus
from ict.exact import Exact
from ict.filters import Filter
from ict.milvus import indexes
from ict.milvus.indexes import IndexConfig

if TYPE_CHECKING:
    from pymilvus import MilvusClient

KIND = "items"
NEVER = np.iinfo(np.int64).max  # the first day of an item that nobody has taken
_VECTOR = "vector"
_FILTERED = ("categories", "first_day")
_K = 10  # of recall@k
_DENIED, _ALLOWED = (100, 1000), 1000  # at most so many items in the filters that a version is tried with


@dataclass(frozen=True, slots=True)
class Facts:
    """What searches filter by: categories, padded with PAD, and the first day an item was taken, NEVER for none."""

    categories_VC: np.ndarray
    first_day_V: np.ndarray

    @classmethod
    def of(cls, ws: Workspace, ids_V: np.ndarray) -> "Facts":
        """Of those items of the workspace."""
        items, taken = tables.items(ws), tables.interactions(ws)
        last = int(items["item"].to_numpy().max())
        first_day = np.full(last + 1, NEVER)
        np.minimum.at(first_day, taken["item"].to_numpy(), taken["day"].to_numpy().astype(np.int64))
        lists = dict(zip(items["item"].to_pylist(), items["category_ids"].to_pylist(), strict=True))
        padded = [(*lists[item][:CATEGORIES], *[PAD] * (CATEGORIES - len(lists[item]))) for item in ids_V.tolist()]
        return cls(np.array(padded, dtype=np.int64).reshape(-1, CATEGORIES), first_day[ids_V])


def publish(
    ws: Workspace,
    item_ids: np.ndarray,
    item_vectors: np.ndarray,
    facts: Facts | None = None,
    *,
    kind: str = indexes.AUTO,
    origin: Mapping[str, str] | None = None,
) -> str:
    """Publish a new version of the item collection and return its name; readers switch to it at once.

    Args:
        item_ids: ascending, (V,); `item_vectors` (V, W).
        facts: without them the collection knows no filter but of ids.
        kind: type of index, or "auto", which goes by the number of items.
        origin: what the version's account says of the vectors, such as the run and the encoder of the texts in them.

    Raises:
        UsageError: for an unknown type of index, or no items.
        LlmcfError: if Milvus is held, unreachable or answers wrongly; the live version stays.
    """
    made = records(item_ids, item_vectors, facts, index=IndexConfig.named(kind, len(item_ids)), origin=origin)
    with milvus.connect(ws) as client:
        return milvus.publish(client, ws, KIND, made)


def records(
    item_ids: np.ndarray,
    item_vectors: np.ndarray,
    facts: Facts | None = None,
    *,
    index: IndexConfig | None = None,
    origin: Mapping[str, str] | None = None,
) -> milvus.Records:
    """The collection's columns; the arguments as of `publish`."""
    scalars = {} if facts is None else {"categories": facts.categories_VC, "first_day": facts.first_day_V}
    return milvus.Records(
        ids=item_ids,
        vectors={_VECTOR: np.ascontiguousarray(item_vectors, dtype=np.float32)},
        scalars=scalars,
        index=index or IndexConfig(),
        facts=origin or {},
        checks=_checks(item_ids, facts),
        k=_K,
    )


def columns(collection: milvus.Collection) -> dict[str, np.ndarray]:
    """What a replica reads of a collection; older ones hold vectors alone."""
    return collection.read([_VECTOR, *(name for name in _FILTERED if name in collection.widths)])


@dataclass(frozen=True, slots=True)
class ItemReplica:
    """A collection in memory: ids, ascending, vectors, (V, W), and what filters ask for. Holds no connection."""

    collection: str
    exact: Exact

    @classmethod
    def read(cls, client: "MilvusClient", collection: str) -> "ItemReplica":
        """Read a collection through an open connection."""
        return cls.of(collection, columns(milvus.Collection.open(client, collection, "llmcf export")))

    @classmethod
    def of(cls, collection: str, rows: Mapping[str, np.ndarray]) -> "ItemReplica":
        """Of what `columns` reads."""
        filtered = {name: rows[name] for name in _FILTERED if name in rows}
        return cls(collection, Exact(rows["id"], rows[_VECTOR], filtered).for_single_queries())

    def __contains__(self, item: int) -> bool:
        return bool(np.isin(item, self.exact.ids_N, assume_unique=True))


def _checks(item_ids: np.ndarray, facts: Facts | None) -> dict[str, list[Filter]]:
    """The filters of requests, on items that are the same each time."""
    drawn = np.random.default_rng(0).permutation(item_ids)
    seen = [drawn[: min(most, len(drawn) // 2)] for most in _DENIED]
    found = {
        "no filter": [Filter()],
        "seen items": [Filter(deny=items) for items in seen],
        "an allow list": [Filter(allow=drawn[: min(_ALLOWED, max(1, len(drawn) // 2))])],
    }
    if facts is not None:
        common = np.unique(facts.categories_VC[facts.categories_VC != PAD], return_counts=True)
        days = facts.first_day_V[facts.first_day_V != NEVER]
        if len(common[0]):
            by_count = common[0][np.argsort(-common[1], kind="stable")]
            some = (by_count[0], by_count[len(by_count) // 2])  # a common one, and one of the middle
            found["categories"] = [Filter(categories=np.array([category])) for category in some]
        if len(days):
            found["on sale"] = [Filter(on_sale=int(day)) for day in np.quantile(days, (0.1, 0.5)).astype(int) + 1]
        if {"categories", "on sale"} <= found.keys():
            found["all of these"] = [
                Filter(deny=items, categories=one.categories, on_sale=two.on_sale)
                for items, one, two in zip(seen, found["categories"], found["on sale"], strict=True)
            ]
    return found
