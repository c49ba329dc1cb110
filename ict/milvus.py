"""Milvus: opening it, and publishing a new version of a collection behind an alias.

Milvus Lite is a folder that one process owns at a time, so a connection is held as briefly as possible: open it, read
what is needed into memory, leave; others wait for their turn. LLMCF_MILVUS_URI names a server instead, which many
processes share, or another folder of Milvus Lite.
"""

import hashlib
import json
import logging
import re
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from core import homes, settings, storage
from core.data import tables
from core.errors import LlmcfError, Missing, Unavailable, UsageError
from core.settings import Workspace
from ict import milvus_lite

if TYPE_CHECKING:
    from pymilvus import CollectionSchema, MilvusClient

_INSERT = 2000  # rows a call: 768 floats each stay far below gRPC's 64 MiB
_TEXT_BYTES = 8192
_PROBES = 16  # stored vectors searched for themselves before a version goes live
_TIMEOUT_S = 10
_PATIENCE_S = 20.0  # for a server that has answered before
_DIGITS = 12  # of the digest in a version's name
_NO_SUCH_ALIAS = (100, 1600)  # error codes of Milvus Lite and of the server


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """What a collection holds, column by column, each of the same length as `ids`.

    Args:
        ids: primary keys, int64, positive.
        vectors: float32 (n, width) by field name; indexed for inner product.
        scalars: int64 arrays, or lists of strings, by field name.
        index: Milvus index type of every vector field.
    """

    ids: np.ndarray
    vectors: Mapping[str, np.ndarray]
    scalars: Mapping[str, np.ndarray | Sequence[str]] = field(default_factory=dict)
    index: str = "FLAT"


@contextmanager
def connect(ws: Workspace) -> "Iterator[MilvusClient]":
    """Open the workspace's Milvus and close it, letting other processes in, at the end of the block.

    Blocks of one process must not be nested over the same workspace: hand the client on instead.

    Raises:
        Unavailable: if another process holds the folder for long, or the server does not answer, now or later.
        UsageError: if the server refuses the token.
        Missing: if something else lies where Milvus Lite keeps its folder.
    """
    for name in ("pymilvus", "milvus_lite", "grpc._server"):  # they log a traceback for what is raised, or no matter
        logging.getLogger(name).setLevel(logging.CRITICAL)
    named = settings.milvus_uri()
    if named and not named.startswith("/"):
        with _client(named, token=settings.milvus_token()) as client:
            yield client
        return
    path = Path(named) if named else ws.path("milvus.db")
    with milvus_lite.opened(path, tables.remedy(ws, "cot index")) as address, _client(address) as client:
        yield client


@contextmanager
def _client(address: str, token: str = "") -> "Iterator[MilvusClient]":
    import grpc
    from pymilvus import MilvusClient
    from pymilvus.exceptions import MilvusException

    client = None
    try:
        client = MilvusClient(address, token=token, timeout=_TIMEOUT_S)
        _give_up_in_time(client)
        yield client
    except (MilvusException, grpc.RpcError) as error:
        raise _explained(address, error, connected=client is not None) from error
    finally:
        if client:
            client.close()


def _give_up_in_time(client: "MilvusClient") -> None:
    """Let the client ask again for `_PATIENCE_S` and no longer: by itself it asks 75 times, for minutes."""
    handler = client._get_connection()
    recover = handler._on_rpc_error  # pyright: ignore[reportAttributeAccessIssue] - it calls that after each failed call
    first = last = 0.0

    def hook(error: Exception) -> bool:
        nonlocal first, last
        now = time.monotonic()
        if now - last > 2 * _TIMEOUT_S:
            first = now
        last = now
        if now - first > _PATIENCE_S:
            raise error
        return recover(error)

    handler._on_rpc_error = hook  # pyright: ignore[reportAttributeAccessIssue]


def _explained(address: str, error: Exception, *, connected: bool) -> Exception:
    """What is raised where a server is down or refuses us; any other error is ours, and stays as it is."""
    import grpc

    code = next((cause.code() for cause in _causes(error) if isinstance(cause, grpc.Call)), None)
    shown = address.rsplit("@", 1)[-1]
    if code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
        return UsageError(f"Milvus at {shown} refuses LLMCF_MILVUS_TOKEN; set it to `user:password` or an API key")
    gone = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)
    if connected and code not in gone:
        return error
    return Unavailable(f"no Milvus answers at {shown} (LLMCF_MILVUS_URI); start it, or unset the variable")


def _causes(error: BaseException) -> list[BaseException]:
    """The error, what it was raised from, and so on; pymilvus raises errors from themselves."""
    found = [error]
    for one in found:
        found += [before for before in (one.__cause__, one.__context__) if before and before not in found]
    return found


def publish(client: "MilvusClient", ws: Workspace, kind: str, records: Records) -> str:
    """Make a new version of the collection `kind`, prove it, and flip the alias to it; return its name.

    Readers of the alias see the old version until the flip. Older versions stay until `drop_versions`: whoever keeps a
    release that names one must be able to serve it again. A name has a digest of the rows, so that it never means
    others, in no other Milvus and after no loss.

    Raises:
        LlmcfError: if the stored rows do not answer as they must; the alias then stays where it was.
    """
    live, there = live_version(client, ws, kind), versions(client, ws, kind)
    for leftover in [name for name in there if live and number(name) > number(live)]:
        client.drop_collection(leftover)  # of a run that was killed before its flip
    last = live or (there[-1] if there else None)  # a lost alias costs no version that somebody may read
    name = f"{alias(ws, kind)}_v{number(last) + 1 if last else 1}_{_digest(records)}"
    try:
        _fill(client, name, records)
        _verify(client, name, records)
    except BaseException:
        client.drop_collection(name)
        raise
    if live:
        client.alter_alias(name, alias(ws, kind))
    else:
        client.create_alias(name, alias(ws, kind))
    return name


def drop_versions(client: "MilvusClient", ws: Workspace, kind: str, *, keep: Collection[str]) -> list[str]:
    """Drop all versions but the live one and those in `keep`; returns them."""
    live = live_version(client, ws, kind)
    gone = [name for name in versions(client, ws, kind) if name != live and name not in keep]
    for name in gone:
        client.drop_collection(name)
    return gone


def forget(client: "MilvusClient", ws: Workspace, kind: str, *, keep: Collection[str]) -> list[str]:
    """Drop every version but those in `keep`, the live one too, whose alias goes first; returns them."""
    live = live_version(client, ws, kind)
    if live and live not in keep:
        client.drop_alias(alias(ws, kind))
    gone = [name for name in versions(client, ws, kind) if name not in keep]
    for name in gone:
        client.drop_collection(name)
    return gone


def names(client: "MilvusClient") -> set[str]:
    """Every collection there is."""
    stored: list[str] = client.list_collections()  # pyright: ignore[reportAssignmentType]
    return set(stored)


def exists(ws: Workspace) -> bool:
    """Whether there is a Milvus to open: a server, or the workspace's file."""
    return settings.milvus_uri() is not None or ws.path("milvus.db").exists()


def alias(ws: Workspace, kind: str) -> str:
    """The name under which readers find the live version."""
    return f"{homes.prefix(ws)}_{kind}"


def versions(client: "MilvusClient", ws: Workspace, kind: str) -> list[str]:
    """Every stored version, oldest first."""
    pattern = re.compile(re.escape(alias(ws, kind)) + rf"_v\d+_[0-9a-f]{{{_DIGITS}}}")
    return sorted((name for name in names(client) if pattern.fullmatch(name)), key=number)


def number(version: str) -> int:
    return int(version.rsplit("_", 2)[1].removeprefix("v"))


def live_version(client: "MilvusClient", ws: Workspace, kind: str) -> str | None:
    """The collection behind the alias, or None."""
    from pymilvus.exceptions import MilvusException

    try:
        return client.describe_alias(alias(ws, kind))["collection_name"]
    except MilvusException as error:
        if error.code in _NO_SUCH_ALIAS:
            return None
        raise


def load(client: "MilvusClient", ws: Workspace, kind: str, remedy: str) -> str:
    """Make the live version searchable and return its name.

    Raises:
        Missing: if there is none; `remedy` is the command that publishes it.
    """
    name = live_version(client, ws, kind)
    if name is None:
        raise Missing(f"Milvus holds no collection {alias(ws, kind)!r}", remedy)
    client.load_collection(name)
    return name


def read(client: "MilvusClient", collection: str, fields: Sequence[str]) -> dict[str, np.ndarray]:
    """Every row's `fields` as columns, ordered by the primary key `id`, which is always among them."""
    rows = []
    iterator = client.query_iterator(collection, batch_size=1000, filter="", output_fields=["id", *fields])
    while batch := iterator.next():
        rows.extend(batch)
    iterator.close()
    rows.sort(key=lambda row: row["id"])
    return {name: np.array([row[name] for row in rows]) for name in ("id", *fields)}


def _digest(records: Records) -> str:
    """Of every column."""
    columns = {"id": records.ids, **records.vectors, **records.scalars}
    parts = [(name, hashlib.sha256(_bytes(values)).hexdigest()) for name, values in columns.items()]
    return storage.digest(parts)[:_DIGITS]


def _bytes(values: np.ndarray | Sequence[str]) -> bytes:
    return values.tobytes() if isinstance(values, np.ndarray) else json.dumps(list(values)).encode()


def _fill(client: "MilvusClient", name: str, records: Records) -> None:
    index = client.prepare_index_params()
    for vector in records.vectors:
        index.add_index(vector, index_type=records.index, metric_type="IP")
    client.create_collection(name, schema=_schema(client, records), index_params=index, consistency_level="Strong")
    columns = {"id": records.ids, **records.vectors, **records.scalars}
    for start in range(0, len(records.ids), _INSERT):
        part = {key: _plain(values[start : start + _INSERT]) for key, values in columns.items()}
        client.insert(name, [dict(zip(part, row, strict=True)) for row in zip(*part.values(), strict=True)])
    client.flush(name)
    client.load_collection(name)


def _schema(client: "MilvusClient", records: Records) -> "CollectionSchema":
    from pymilvus import DataType

    schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("id", DataType.INT64, is_primary=True)
    for name, values in records.vectors.items():
        schema.add_field(name, DataType.FLOAT_VECTOR, dim=values.shape[1])
    for name, values in records.scalars.items():
        if isinstance(values, np.ndarray):
            schema.add_field(name, DataType.INT64)
        else:
            schema.add_field(name, DataType.VARCHAR, max_length=_TEXT_BYTES)
    return schema


def _plain(values: np.ndarray | Sequence[str]) -> list[object]:
    """Integers and texts as Python values, vectors as rows; a text too long for its field is cut."""
    if isinstance(values, np.ndarray):
        return list(values) if values.ndim == 2 else values.tolist()
    return [text.encode()[:_TEXT_BYTES].decode(errors="ignore") for text in values]


def _verify(client: "MilvusClient", name: str, records: Records) -> None:
    """Count the rows, and compare the best score of a few stored vectors with the exact one."""
    stored = client.query(name, filter="", output_fields=["count(*)"])[0]["count(*)"]
    if stored != len(records.ids):
        raise LlmcfError(f"Milvus stored {stored} of {len(records.ids)} rows in {name}; run the verb again")
    probes = np.linspace(0, len(records.ids) - 1, min(_PROBES, len(records.ids)), dtype=np.int64)
    for field_name, vectors in records.vectors.items():
        queries = vectors[probes]
        exact = (queries @ vectors.T).max(axis=1)
        found = client.search(name, data=list(queries), anns_field=field_name, limit=1)
        best = np.array([hits[0]["distance"] for hits in found])
        if not np.allclose(best, exact, rtol=1e-3, atol=1e-3):
            raise LlmcfError(f"Milvus answers wrongly on {name}.{field_name}; the old version stays live, run again")
