"""The example index: `cot index` publishes the CoT set to Milvus as a new version, verified before it goes live.

An example's key in Milvus is made of what it is (user, position, label), so it stays when the data grows; its number,
which graphs and training know it by, is its place among the keys. Two kinds of query find examples:

    factorised  key      half cosine of the histories' mean item vectors, half of the targets' vectors: made of item
                         vectors alone, so it can be asked for in a request
    text        whole    cosine of the encoder's vectors of the whole texts x^t (arXiv, section 5.2): needs the encoder,
                         so it is for offline use; there after `cot embed --whole`

Suffixes: M examples + 1, E width of a text vector, X of a key, K examples a request.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from core import schemas, settings, steps, storage
from core.contracts import PAD
from core.data import tables
from core.data.tables import remedy
from core.errors import LlmcfError, UsageError
from core.result import Result
from core.settings import LATEST, Workspace
from ict import milvus, whole
from ict.examples import ExampleSet, Requests, rule
from ict.filters import Filter
from ict.milvus import indexes
from ict.milvus.indexes import IndexConfig
from ict.neighbours import NeighbourConfig, arrange

KIND = "cot"
INDEX_VERB = "cot index"
QUERIES = {"factorised": "key", "text": "whole"}  # the vectors that each kind of query is compared with
VECTORS, WHOLE = "vectors", "whole"  # the folders of a set's vectors, which each may be of an encoder of its own
_ENCODERS = {VECTORS: "encoder", WHOLE: "whole_encoder"}  # as a version's account names that
_POSITION_BITS = 20
_CHECKED_DAYS = (0.25, 0.5, 0.75, 1.0)  # quantiles at which the recall is measured

CODE = [
    *(f"ict/{name}.py" for name in ("config", "exact", "examples", "filters", "index", "neighbours", "whole")),
    "ict/milvus",
]


def index(ws: Workspace, *, kind: str | None = None) -> Result:
    """Publish the CoT set as a new version of the workspace's collection, unless it is there.

    Args:
        kind: type of index, or "auto", which goes by the number of examples; None is what was asked for last.

    Raises:
        UsageError: for an unknown type of index, or one that this Milvus does not build.
        LlmcfError: if the set is empty, the vectors are missing, or Milvus is held, unreachable or answers wrongly; the
            live version stays.
    """
    kind = kind or _last_asked(ws)
    IndexConfig.named(kind, 0)
    inputs = [ws.path("training"), ws.path("cot", "texts"), ws.path("cot", "vectors")]
    step = steps.Step(
        folder=ws.path("cot", "index"),
        config={"server": settings.milvus_uri() is not None, "alias": milvus.alias(ws, KIND), "index": kind},
        inputs=[*inputs, *([ws.cot("whole")] if ws.cot("whole").exists() else [])],
        code=CODE,
    )
    outcome = steps.run(step, lambda folder: _publish(ws, kind, folder), force=_gone(ws, step))
    return Result(
        verb=INDEX_VERB,
        workspace=ws,
        skipped=outcome.skipped,
        seconds=outcome.seconds,
        artifacts={"index": str(outcome.folder)},
        details=outcome.summary,
    )


def records(
    examples: ExampleSet,
    texts: list[str],
    *,
    index: IndexConfig | None = None,
    whole_ME: Tensor | None = None,
    until: int | None = None,
    facts: dict[str, Any] | None = None,
) -> milvus.Records:
    """The collection's columns: the vectors, what the eligibility rule reads, and the evidence.

    Args:
        whole_ME: vectors of the examples' whole texts, where there are any, without "no example".
        until: the day of the requests that the examples are for; none may be of that day or later.

    """
    scalars = {
        "user": examples.user_M,
        "item": examples.item_M,
        "position": examples.position_M,
        "day": examples.day_M,
        "label": examples.label_M,
    }
    vectors = {"key": examples.candidates().key_MX[1:], "cot": examples.cot_ME[1:]}
    if whole_ME is not None:
        vectors["whole"] = whole_ME
    return milvus.Records(
        ids=keys_of(examples),
        vectors={name: values.numpy() for name, values in vectors.items()},
        scalars={**{name: column_M[1:].numpy() for name, column_M in scalars.items()}, "text": texts},
        index=index or IndexConfig(),
        kept=frozenset({"cot"}),
        facts=facts or {},
        until=until,
        checks=_checks(examples),
    )


def keys_of(examples: ExampleSet) -> np.ndarray:
    """Each example's primary key, int64 ascending, (M - 1,): of user, position and label.

    Raises:
        LlmcfError: if two examples are of one row, or they are not in the rows' order.
    """
    user_M, position_M, label_M = (
        column_M[1:].numpy() for column_M in (examples.user_M, examples.position_M, examples.label_M)
    )
    keys_M = (user_M << (_POSITION_BITS + 1)) + (position_M << 1) + (1 - label_M)
    if (np.diff(keys_M) <= 0).any():
        raise LlmcfError("the set of chains of thought names a row twice, or rows out of order; write it again")
    return keys_M


@dataclass(frozen=True, slots=True)
class Found:
    """The examples of one request: numbers (1, K), 0 for none, similarities (1, K), and each number's primary key."""

    numbers_1K: Tensor
    similarity_1K: Tensor
    keys: dict[int, int]


def search_milvus(
    collection: milvus.Collection, query_X: Tensor, request: Requests, config: NeighbourConfig, vector: str = "key"
) -> Found:
    """The examples of one request, asked of Milvus itself.

    Raises:
        UsageError: if the collection is of another encoder than the query, or has no such vectors.
    """
    labels: Sequence[int | None] = (1, 0) if config.constrained else (None,)
    wanted, found = config.count // len(labels), []
    for label in labels:
        asked = rule(config.recipe, request, label)
        keys_1K, scores_1K = collection.search(
            query_X.numpy()[None], min(wanted, collection.count), asked, vector=vector, none_left=True
        )
        pairs = zip(keys_1K[0].tolist(), scores_1K[0].tolist(), strict=True)
        found += [*pairs, *[(PAD, -np.inf)] * (wanted - keys_1K.shape[1])]
    keys = {number_of(collection, key): key for key, _ in found if key}
    numbers = {key: number for number, key in keys.items()} | {PAD: 0}
    numbers_1K = torch.tensor([[numbers[key] for key, _ in found]])
    similarity_1K = torch.tensor([[score for _, score in found]], dtype=torch.float32)
    return Found(*arrange(numbers_1K, similarity_1K, request, config), keys)


def number_of(collection: milvus.Collection, key: int) -> int:
    """An example's number, by its primary key: its place among all keys, from 1."""
    return collection.left(Filter(), also=f"id <= {key}")


def request(user: int, position: int, day: int, history_L: Tensor, items_C: Tensor) -> Requests:
    """One user's candidates as a batch of requests."""
    count = len(items_C)
    same = (torch.full((count,), value) for value in (user, position, day))
    user_C, position_C, day_C = same
    return Requests(user_C, items_C, position_C, day_C, history_L.expand(count, -1))


def _checks(examples: ExampleSet) -> dict[str, list[Filter]]:
    """The filters of requests: at a few days each label, and what recipe `paper` asks."""
    days = np.quantile(examples.day_M[1:].numpy(), _CHECKED_DAYS).astype(int).tolist()
    user, position = int(examples.user_M[1]), int(examples.position_M[1])
    return {
        "no filter": [Filter()],
        "time and label": [Filter(before=day, label=label) for day in days for label in (1, 0)],
        "the paper's rule": [Filter(seen_from=(user, position), label=label) for label in (1, 0)],
    }


def _publish(ws: Workspace, kind: str, folder: Path) -> dict[str, Any]:
    examples = ExampleSet.load(ws)
    path = ws.path("cot", "texts", "texts.parquet")
    texts = storage.read_table(path, schemas.COT_TEXTS, remedy(ws, "cot generate"))
    made = records(
        examples,
        texts["text"].to_pylist(),
        index=IndexConfig.named(kind, examples.count),
        whole_ME=whole.whole_vectors(ws, texts["row"].to_numpy()),
        until=first_unknown_day(ws),
        facts={name: encoder(ws, part) for part, name in _ENCODERS.items() if part == VECTORS or ws.cot(part).exists()},
    )
    with milvus.connect(ws) as client:
        name = milvus.publish(client, ws, KIND, made)
        live, account = milvus.live_version(client, ws, KIND), milvus.account_of(client, name)
    summary = {"collection": name, "alias": milvus.alias(ws, KIND), "live": live, "count": examples.count, **account}
    storage.write_json(folder / "index.json", summary)
    return summary


def encoder(ws: Workspace, part: str = VECTORS) -> str:
    """What made the text vectors of a folder of the workspace: its digest, or its name where that is not known."""
    config = steps.require(ws.cot(part), remedy(ws, whole.VERB if part == WHOLE else "cot embed"))["config"] or {}
    return str(config.get("hash") or config.get("encoder") or "")


def first_unknown_day(ws: Workspace) -> int:
    """The first day of which the workspace must not know anything: its as-of day, or the day after all data."""
    if ws.as_of != LATEST:
        return int(np.datetime64(ws.as_of, "D").astype(np.int64))
    return int(tables.interactions(ws)["day"].to_numpy().max()) + 1


def check_encoder(ws: Workspace, collection: milvus.Collection, part: str = VECTORS) -> None:
    """Raises UsageError if what a folder of the workspace asks with is of another encoder than the collection's."""
    theirs = collection.account.get(_ENCODERS[part], "")
    ours = encoder(ws, part) if theirs else ""
    if ours and theirs != ours:
        raise UsageError(
            f"{collection.name} was made with the encoder {theirs[:12]}, and {ws.cot(part)} with {ours[:12]}; "
            f"run `{remedy(ws, INDEX_VERB)}`"
        )


def _last_asked(ws: Workspace) -> str:
    """Which type of index was asked for when the workspace's examples were last published."""
    stamp = steps.Step(folder=ws.path("cot", "index"), config=None).stamp()
    return stamp["config"].get("index", indexes.AUTO) if stamp else indexes.AUTO


def _gone(ws: Workspace, step: steps.Step) -> bool:
    """Whether Milvus lacks the collection that the stamp names, or readers find none; a rollback stays as it is."""
    stamp = step.stamp()
    if stamp is None or not milvus.exists(ws):
        return True
    with milvus.connect(ws) as client:
        there = milvus.names(client)
        return stamp["summary"]["collection"] not in there or milvus.live_version(client, ws, KIND) is None
