"""The item index: item vectors in Milvus, and an exact in-process replica of them for serving.

Milvus Lite is far too slow for an online budget, so a release's vectors are read out of the collection once and
searched by a matrix product. Milvus itself gives the same answer (tests prove it).

Suffixes: V items of the index, B users, W width, k results.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from core.contracts import PAD
from core.settings import Workspace
from ict import milvus

if TYPE_CHECKING:
    from pymilvus import MilvusClient

KIND = "items"
_VECTOR = "vector"


def publish(ws: Workspace, item_ids: np.ndarray, item_vectors: np.ndarray) -> str:
    """Publish a new version of the item collection and return its name; readers switch to it at once."""
    records = milvus.Records(ids=item_ids, vectors={_VECTOR: np.ascontiguousarray(item_vectors, dtype=np.float32)})
    with milvus.connect(ws) as client:
        return milvus.publish(client, ws, KIND, records)


@dataclass(frozen=True, slots=True)
class ItemReplica:
    """A collection's ids, ascending, and vectors, (V, W). Holds no connection."""

    collection: str
    ids_V: np.ndarray
    vectors_VW: np.ndarray

    @classmethod
    def read(cls, client: "MilvusClient", collection: str) -> "ItemReplica":
        """Read a collection through an open connection."""
        client.load_collection(collection)
        rows = milvus.read(client, collection, [_VECTOR])
        return cls(collection, rows["id"].astype(np.int64), rows[_VECTOR].astype(np.float32))

    def __contains__(self, item: int) -> bool:
        return bool(np.isin(item, self.ids_V, assume_unique=True))

    def search(
        self, vector_BW: np.ndarray, k: int, exclude: Sequence[Sequence[int]] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The k best items of each user by inner product: ids and scores, (B, k), best first, ties by lower id.

        `exclude` lists, for each user, item ids that must not come up. Where fewer than k items are left, the rest is
        PAD with a score of -inf.
        """
        score_BV = vector_BW @ self.vectors_VW.T
        for score_V, unwanted in zip(score_BV, exclude or (), strict=exclude is not None):
            score_V[np.isin(self.ids_V, np.asarray(unwanted, dtype=np.int64))] = -np.inf
        best_BV = np.argsort(-score_BV, axis=1, kind="stable")[:, :k]
        short = max(0, k - best_BV.shape[1])
        score_Bk = np.pad(np.take_along_axis(score_BV, best_BV, axis=1), ((0, 0), (0, short)), constant_values=-np.inf)
        ids_Bk = np.pad(self.ids_V[best_BV], ((0, 0), (0, short)), constant_values=PAD)
        return np.where(np.isneginf(score_Bk), PAD, ids_Bk), score_Bk
