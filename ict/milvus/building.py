"""Filling a new collection: whole, or as a copy of another version with what has changed.

Milvus Lite copies its files by a snapshot; then only rows that are new or changed are inserted, others deleted, and an
index is not built again for what stays. No server that is at hand copies, so there a version is written whole.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from core.errors import LlmcfError, Unavailable, UsageError
from ict.milvus import lite
from ict.milvus.collection import Collection, tell
from ict.milvus.connection import Server
from ict.milvus.indexes import KINDS
from ict.milvus.records import DIGEST, Records, create, rows

if TYPE_CHECKING:
    from pymilvus import MilvusClient

_WORTH_COPYING = 0.5  # of the rows are the same
_POLL_S = 0.2
_PATIENCE_S = 1800.0  # for a segment to be indexed
_DELETED = 5000  # ids a call


@dataclass(frozen=True, slots=True)
class Changes:
    """Between a version and the one before it, in rows."""

    same: int
    new: int
    changed: int
    gone: int
    copied: bool  # whether what is the same was copied within Milvus


def build(client: "MilvusClient", name: str, records: Records, before: str | None) -> tuple[Changes, dict[str, float]]:
    """Fill a collection `name`, which must not exist, with `records`; it is indexed then.

    Args:
        before: the version that may be copied.

    Returns:
        what has changed since `before`, and the seconds of writing and of indexing.

    Raises:
        UsageError: if this Milvus does not know the type of index.
    """
    start = time.monotonic()
    columns, stored = records.columns(), _digests(client, before, records)
    digests = dict(zip(records.ids.tolist(), records.row_digests.tolist(), strict=True))
    gone = [number for number in stored if number not in digests]
    new = [number for number in digests if number not in stored]
    changed = [number for number in digests.keys() & stored.keys() if digests[number] != stored[number]]
    same = len(records.ids) - len(new) - len(changed)
    copied = bool(before) and same >= _WORTH_COPYING * max(len(records.ids), len(stored)) and lite.can_copy(client)
    if copied:
        lite.copy(client, str(before), name)
        for first in range(0, len(gone), _DELETED):
            client.delete(name, ids=gone[first : first + _DELETED])
        for part in rows(columns, np.searchsorted(records.ids, sorted(new + changed))):
            client.upsert(name, part)
    else:
        _whole(client, name, records, columns)
    client.flush(name)
    written = time.monotonic()
    _index(client, name, records)
    seconds = {"writing": round(written - start, 2), "indexing": round(time.monotonic() - written, 2)}
    return Changes(same, len(new), len(changed), len(gone), copied), seconds


def prove(collection: Collection, records: Records) -> None:
    """Look whether what was copied and changed is, row by row, what was to be written.

    Raises:
        LlmcfError: if it is not.
    """
    stored = collection.read([DIGEST])
    wanted = records.row_digests
    if not (np.array_equal(stored["id"], records.ids) and np.array_equal(stored[DIGEST], wanted)):
        raise LlmcfError(f"{collection.name} does not hold the rows that it was to be changed to; run the verb again")


def _whole(client: "MilvusClient", name: str, records: Records, columns: Mapping[str, Any]) -> None:
    from pymilvus.exceptions import MilvusException

    try:
        create(client, name, records)
    except MilvusException as error:
        raise _refused(client, records, error) from error
    for part in rows(columns, np.arange(len(records.ids))):
        client.insert(name, part)


def _index(client: "MilvusClient", name: str, records: Records) -> None:
    """Wait for the index of all rows, then load it: until then a server searches by another one, which finds less."""
    from pymilvus.exceptions import MilvusException

    tell(client, name, {"index": records.index.as_json(), **records.facts})
    for vector in records.searched:
        _wait(client, name, vector)
    client.release_collection(name)
    try:
        lite.load(client, name)
    except MilvusException as error:
        raise _refused(client, records, error) from error


def _wait(client: "MilvusClient", name: str, vector: str) -> None:
    moved, pending = time.monotonic(), -1
    while told := client.describe_index(name, vector):
        left = int(told.get("pending_index_rows", 0))
        if told["state"] == "Failed":
            raise LlmcfError(f"Milvus did not build the index of {name}.{vector}: {told}; the old version stays live")
        if not left:
            return
        if left != pending:
            moved, pending = time.monotonic(), left
        if time.monotonic() - moved > _PATIENCE_S:
            raise Unavailable(f"Milvus has indexed none of {left:,} rows of {name}.{vector} for {_PATIENCE_S:.0f} s")
        time.sleep(_POLL_S)


def _digests(client: "MilvusClient", before: str | None, records: Records) -> dict[int, int]:
    """The digests by id of the rows of `before`; none if it is laid out otherwise."""
    if before is None:
        return {}
    stored = Collection.open(client, before)
    if (dict(stored.widths), stored.account.get("index")) != _layout_of(records):
        return {}
    rows_of = stored.read([DIGEST])
    return dict(zip(rows_of["id"].tolist(), rows_of[DIGEST].tolist(), strict=True))


def _layout_of(records: Records) -> tuple[dict[str, int], dict[str, Any]]:
    widths = {name: values.shape[1] for name, values in records.vectors.items()}
    return {"id": 0, **widths, **dict.fromkeys((*records.scalars, DIGEST), 0)}, records.index.as_json()


def _refused(client: "MilvusClient", records: Records, error: Exception) -> Exception:
    """What is raised for a type of index that this Milvus does not build; any other error stays as it is."""
    if "index" not in str(error).lower():
        return error
    others = ", ".join(kind for kind in KINDS if kind != records.index.kind)
    return UsageError(
        f"{Server.of(client)} does not build the index {records.index.as_json()}: {error}; choose one of: {others}"
    )
