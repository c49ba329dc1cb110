"""The example index: `cot index` publishes the CoT set to Milvus, and the replica serves from it.

Milvus Lite takes 150 ms for one filtered query, so the on-line service reads the collection once per release and
searches it exactly in memory; a contract test proves that both give the same examples.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from core import schemas, settings, steps, storage
from core.data.tables import remedy
from core.result import Result
from core.settings import Workspace
from ict import milvus
from ict.examples import NEVER, Candidates, ExampleSet, Requests, milvus_filter, with_none
from ict.neighbours import ExactSearch, NeighbourConfig, arrange

if TYPE_CHECKING:
    from pymilvus import MilvusClient

KIND = "cot"
INDEX_VERB = "cot index"
_READ = ("row", "user", "item", "position", "day", "label", "text", "key")


CODE = [f"ict/{name}.py" for name in ("index", "milvus", "milvus_lite", "examples", "config", "neighbours")]


def index(ws: Workspace) -> Result:
    """Publish the CoT set as a new version of the workspace's collection, unless the live one is current.

    Raises:
        LlmcfError: if the vectors are missing, or Milvus is held, unreachable or answers wrongly.
    """
    step = steps.Step(
        folder=ws.path("cot", "index"),
        config={"server": settings.milvus_uri() is not None, "alias": milvus.alias(ws, KIND)},
        inputs=[ws.path("training"), ws.path("cot", "texts"), ws.path("cot", "vectors")],
        code=CODE,
    )
    outcome = steps.run(step, lambda folder: _publish(ws, folder), force=_gone(ws, step))
    return Result(
        verb=INDEX_VERB,
        workspace=ws,
        skipped=outcome.skipped,
        seconds=outcome.seconds,
        artifacts={"index": str(outcome.folder)},
        details=outcome.summary,
    )


def records(examples: ExampleSet, texts: list[str]) -> milvus.Records:
    """The collection's columns: the key, the CoT vector, what the eligibility rule reads, and the evidence."""
    scalars = {
        "row": examples.row_M,
        "user": examples.user_M,
        "item": examples.item_M,
        "position": examples.position_M,
        "day": examples.day_M,
        "label": examples.label_M,
    }
    return milvus.Records(
        ids=np.arange(1, examples.count + 1),
        vectors={"key": examples.candidates().key_MX[1:].numpy(), "cot": examples.cot_ME[1:].numpy()},
        scalars={**{name: column_M[1:].numpy() for name, column_M in scalars.items()}, "text": texts},
    )


def search_milvus(
    client: "MilvusClient", collection: str, key_X: Tensor, request: Requests, config: NeighbourConfig
) -> tuple[Tensor, Tensor]:
    """The examples of one request, asked of Milvus itself: numbers (1, K) and similarities (1, K)."""
    wanted = config.count // 2
    found: list[tuple[int, float]] = []
    for label in (1, 0):
        rule = milvus_filter(config.recipe, request, label)
        hits = client.search(collection, data=[key_X.numpy()], anns_field="key", filter=rule, limit=wanted)[0]
        found += [(hit["id"], hit["distance"]) for hit in hits] + [(0, -np.inf)] * (wanted - len(hits))
    numbers_1K = torch.tensor([[number for number, _ in found]])
    similarity_1K = torch.tensor([[score for _, score in found]], dtype=torch.float32)
    return arrange(numbers_1K, similarity_1K, request, config)


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
        """Read a version through an open connection; `item_vectors_VE` are those that its keys were made of."""
        client.load_collection(collection)
        rows = milvus.read(client, collection, _READ)
        column = {name: with_none(torch.from_numpy(rows[name].astype(np.int64)), none) for name, none in _NONE.items()}
        candidates = Candidates(
            row_M=column["row"],
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
            "row": int(candidates.row_M[number]),
            "user": int(candidates.user_M[number]),
            "item": int(self._item_M[number]),
            "label": int(candidates.label_M[number]),
            "day": int(candidates.day_M[number]),
            "text": self._texts[number],
        }


def request(user: int, position: int, day: int, history_L: Tensor, items_C: Tensor) -> Requests:
    """One user's candidates as a batch of requests."""
    count = len(items_C)
    same = (torch.full((count,), value) for value in (user, position, day))
    user_C, position_C, day_C = same
    return Requests(user_C, items_C, position_C, day_C, history_L.expand(count, -1))


_NONE = {"row": -1, "user": 0, "item": 0, "position": 0, "day": NEVER, "label": 0}


def _publish(ws: Workspace, folder: Path) -> dict[str, Any]:
    examples = ExampleSet.load(ws)
    texts = storage.read_table(ws.path("cot", "texts", "texts.parquet"), schemas.COT_TEXTS, remedy(ws, "cot generate"))[
        "text"
    ].to_pylist()
    with milvus.connect(ws) as client:
        name = milvus.publish(client, ws, KIND, records(examples, texts))
    summary = {"collection": name, "alias": milvus.alias(ws, KIND), "count": examples.count}
    storage.write_json(folder / "index.json", summary)
    return summary


def _gone(ws: Workspace, step: steps.Step) -> bool:
    """Whether the collection that the stamp names is not, or no longer, what readers find in Milvus."""
    stamp = step.stamp()
    if stamp is None or not milvus.exists(ws):
        return True
    with milvus.connect(ws) as client:
        return milvus.live_version(client, ws, KIND) != stamp["summary"]["collection"]
