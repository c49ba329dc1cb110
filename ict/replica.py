"""Serving's replica of an example collection: read once a release, searched exactly in memory.

Milvus Lite takes tens of milliseconds for one filtered query, a request needs one for each of its candidates; a
contract test proves that both give the same examples.

Suffixes: M examples + 1, V items, E width of a text vector, C candidates, K examples, L history length.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from core.errors import LlmcfError
from ict.examples import NEVER, Candidates, with_none
from ict.index import request
from ict.milvus import Collection
from ict.neighbours import ExactSearch, NeighbourConfig

if TYPE_CHECKING:
    from pymilvus import MilvusClient

_NONE = {"user": 0, "item": 0, "position": 0, "day": NEVER, "label": 0}  # what "no example" says in a column


@dataclass(frozen=True, slots=True)
class Shown:
    """The examples of C candidates, or of one user: numbers (C, K), 0 for none, and similarities (C, K)."""

    examples_CK: Tensor
    similarity_CK: Tensor


class ServingReplica:
    """The live collection in memory. Safe to share between threads; holds no connection."""

    def __init__(
        self,
        candidates: Candidates,
        item_vectors_VE: Tensor,
        item_M: Tensor,
        texts: list[str],
        *,
        ranking: NeighbourConfig,
        retrieval: NeighbourConfig,
    ) -> None:
        self.candidates = candidates
        self._item_M = item_M
        self._texts = texts
        self._ranking, self._retrieval = (
            ExactSearch(candidates, item_vectors_VE, config) for config in (ranking, retrieval)
        )

    @classmethod
    def read(
        cls,
        client: "MilvusClient",
        collection: str,
        item_vectors_VE: Tensor,
        *,
        ranking: NeighbourConfig,
        retrieval: NeighbourConfig,
    ) -> "ServingReplica":
        """Read a version through an open connection; `item_vectors_VE` are those that its keys were made of.

        Raises:
            LlmcfError: if they cannot be, because their widths do not fit.
        """
        stored = Collection.open(client, collection)
        if stored.widths["key"] != 2 * item_vectors_VE.shape[1]:
            raise LlmcfError(
                f"{collection} holds keys of {stored.widths['key']} numbers, and the release's item vectors have "
                f"{item_vectors_VE.shape[1]}: they are of another encoder; make the release again"
            )
        rows = stored.read([*_NONE, "text", "key"])
        column = {name: with_none(torch.from_numpy(rows[name].astype(np.int64)), none) for name, none in _NONE.items()}
        candidates = Candidates(
            row_M=torch.arange(-1, len(rows["id"])),  # whether it is an example is all that the rule asks of it
            user_M=column["user"],
            position_M=column["position"],
            day_M=column["day"],
            label_M=column["label"],
            key_MX=torch.nn.functional.pad(torch.from_numpy(rows["key"]).float(), (0, 0, 1, 0)),
        )
        texts = ["", *rows["text"].tolist()]
        return cls(candidates, item_vectors_VE, column["item"], texts, ranking=ranking, retrieval=retrieval)

    def for_ranking(self, *, user: int, position: int, day: int, history_L: Tensor, items_C: Tensor) -> Shown:
        """The examples of each candidate of one user: `position` is the number of the user's interactions so far."""
        return Shown(*self._ranking(request(user, position, day, history_L, items_C)))

    def for_retrieval(self, *, user: int, position: int, day: int, history_L: Tensor) -> Shown:
        """The examples of the user as such, (1, K)."""
        return Shown(*self._retrieval(request(user, position, day, history_L, torch.zeros(1, dtype=torch.int64))))

    def evidence(self, number: int) -> dict[str, Any]:
        """Who and what example `number` is about, with its text."""
        candidates = self.candidates
        return {
            "example": number,
            "user": int(candidates.user_M[number]),
            "position": int(candidates.position_M[number]),
            "item": int(self._item_M[number]),
            "label": int(candidates.label_M[number]),
            "day": int(candidates.day_M[number]),
            "text": self._texts[number],
        }
