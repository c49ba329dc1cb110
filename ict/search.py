"""`cot search`: the examples of a request made on the day after the workspace's data, with what they say.

Milvus itself is asked, in the collection that is published now. What was pushed since, and which collection a release
serves from, play no part.
"""

import datetime
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from core.contracts import HISTORY, PAD, RECIPES, SEED
from core.data import tables, texts
from core.data.tables import remedy
from core.errors import UsageError, check_choice
from core.result import Result
from core.settings import Workspace
from ict import milvus
from ict.examples import Requests, keys, text_vectors
from ict.index import INDEX_VERB, KIND, QUERIES, VECTORS, WHOLE, check_encoder, request, search_milvus
from ict.neighbours import NeighbourConfig

_GONE = "(not in this workspace)"  # of an example that another day's data had
_EVIDENCE = ["user", "item", "label", "day", "text"]


def search(
    ws: Workspace,
    *,
    user: str,
    item: str,
    recipe: str = RECIPES[0],
    seed: int = SEED,
    encode: Callable[[pa.Table], np.ndarray] | None = None,
) -> Result:
    """Show the examples of the request "would `user` like `item`?", made on the day after the last interaction.

    Args:
        user: raw id, as in the source.
        item: raw id.
        recipe: whose eligibility rule applies.
        seed: of the examples' order.
        encode: makes queries of kind `text` of rows with the columns of `schemas.TRAINING_ROWS` that say what a row
            is; factorised ones are asked if there is none.

    Raises:
        UsageError: for an id that the data set does not have, an index of another encoder, or one without whole texts.
        LlmcfError: if the index is missing, or Milvus is held or unreachable.
    """
    check_choice("recipe", recipe, RECIPES)
    start = time.monotonic()
    users, items = tables.users(ws), tables.items(ws)
    asked = now(ws, _row(users, "user", user), _row(items, "item", item))
    queries = "text" if encode else "factorised"
    query_X = torch.from_numpy(encode(_as_row(asked))[0]) if encode else _factorised(ws, asked)
    config = NeighbourConfig(stage="ranking", recipe=recipe, seed=seed)
    with milvus.connect(ws) as client:
        collection = milvus.open_live(client, ws, KIND, remedy(ws, INDEX_VERB))
        check_encoder(ws, collection, WHOLE if encode else VECTORS)
        found = search_milvus(collection, query_X, asked, config, QUERIES[queries])
        keys_found = list(found.keys.values())
        stored = {row["id"]: row for row in client.get(collection.name, ids=keys_found, output_fields=_EVIDENCE)}
    pairs = zip(found.numbers_1K[0].tolist(), found.similarity_1K[0].tolist(), strict=True)
    shown = [_evidence(number, stored[found.keys[number]], score, users, items) for number, score in pairs if number]
    return Result(
        verb="cot search",
        workspace=ws,
        recipe=recipe,
        seed=seed,
        seconds=time.monotonic() - start,
        details={
            "user": user,
            "item": item,
            "title": _title(items, int(asked.item_B[0])),
            "queries": queries,
            "collection": collection.name,
            "examples": shown,
            "text": "\n".join(map(_line, shown)) or "  no example is old enough for this request",
        },
    )


def _line(shown: dict[str, Any]) -> str:
    """One example for people; its text is data, shown quoted."""
    head = (
        f"  user {shown['user']}, {shown['date']}, {shown['title']}: {shown['label']}, similarity {shown['similarity']}"
    )
    return f"{head}\n      {shown['text']!r}"


def now(ws: Workspace, user: int, item: int) -> Requests:
    """The request of `user` for `item` on the day after the workspace's last interaction."""
    interactions = tables.interactions(ws)
    own = interactions.filter(pa.array(interactions["user"].to_numpy() == user))
    history = np.full(HISTORY, PAD, dtype=np.int64)
    latest = own["item"].to_numpy()[-HISTORY:]
    history[HISTORY - len(latest) :] = latest
    day = int(interactions["day"].to_numpy().max()) + 1
    return request(user, len(own), day, torch.from_numpy(history), torch.tensor([item]))


def _factorised(ws: Workspace, asked: Requests) -> Tensor:
    """The query of one request, (2E,): made of item vectors alone."""
    return keys(text_vectors(ws, remedy(ws, "cot embed"))["items"], asked.history_BL, asked.item_B)[0]


def _as_row(asked: Requests) -> pa.Table:
    """One request as a row of training would state it; its label is not known, and nobody asks for it."""
    columns = {"user": asked.user_B, "item": asked.item_B, "position": asked.position_B, "day": asked.day_B}
    plain = {name: values_1.numpy() for name, values_1 in columns.items()}
    return pa.table({"row": [-1], "label": [0], **plain, "history": asked.history_BL.tolist()})


def _row(table: pa.Table, kind: str, raw_id: str) -> int:
    at = pc.index(table["raw_id"], raw_id).as_py()
    if at < 0:
        some = ", ".join(table["raw_id"][:3].to_pylist())
        raise UsageError(f"unknown {kind} {raw_id!r}; this data set has {len(table)} {kind} ids such as {some}")
    return table[kind][at].as_py()


def _evidence(number: int, row: dict[str, Any], similarity: float, users: pa.Table, items: pa.Table) -> dict[str, Any]:
    who = pc.index(users["user"], row["user"]).as_py()
    return {
        "example": number,
        "similarity": round(similarity, 4),
        "label": "liked" if row["label"] else "not taken",
        "user": users["raw_id"][who].as_py() if who >= 0 else _GONE,
        "title": _title(items, row["item"]),
        "date": (datetime.date(1970, 1, 1) + datetime.timedelta(days=row["day"])).isoformat(),
        "text": row["text"],
    }


def _title(items: pa.Table, item: int) -> str:
    at = pc.index(items["item"], item).as_py()
    return texts.name(items["title"][at].as_py(), items["raw_id"][at].as_py()) if at >= 0 else _GONE
