"""Opening Milvus, and which Milvus it is.

Milvus Lite is a folder that one process owns at a time, so a connection is held as briefly as possible: open it, read
what is needed into memory, leave; others wait for their turn. LLMCF_MILVUS_URI names a server instead, which many
processes share, or another folder of Milvus Lite.
"""

import logging
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from core import settings
from core.data import tables
from core.errors import Unavailable, UsageError
from core.settings import Workspace
from ict.milvus import lite

if TYPE_CHECKING:
    from pymilvus import MilvusClient

_TIMEOUT_S = 10
_PATIENCE_S = 20.0  # for a server that has answered before
_SEVERAL_VECTORS = (2, 4)  # the first version of the server that takes several vector fields a collection


@dataclass(frozen=True, slots=True)
class Server:
    """Which Milvus answers: Milvus Lite or a server, and its version."""

    lite: bool
    version: str

    def __str__(self) -> str:
        return f"Milvus {'Lite' if self.lite else 'server'} {self.version}"

    @property
    def several_vectors(self) -> bool:
        """Whether a collection may have more than one vector field."""
        numbers = [int(part) for part in re.findall(r"\d+", self.version)[:2]]
        return self.lite or tuple(numbers) >= _SEVERAL_VECTORS

    @classmethod
    def of(cls, client: "MilvusClient") -> "Server":
        told = str(client.get_server_version())
        version = told.removeprefix("milvus_lite-")
        return cls(lite=version != told, version=version.removeprefix("v"))


@contextmanager
def connect(ws: Workspace) -> "Iterator[MilvusClient]":
    """Open the workspace's Milvus and close it, letting other processes in, at the end of the block.

    Blocks of one process must not be nested over the same workspace: hand the client on instead.

    Raises:
        Unavailable: if another process holds the folder for long, or the server does not answer, now or later.
        UsageError: if the server refuses the token.
        Missing: if something else lies where Milvus Lite keeps its folder.
    """
    _hush()
    named = settings.milvus_uri()
    if named and not named.startswith("/"):
        with _client(named, token=settings.milvus_token()) as client:
            yield client
        return
    path = Path(named) if named else ws.path("milvus.db")
    with lite.opened(path, tables.remedy(ws, "cot index")) as address, _client(address) as client:
        lite.own(client, address)
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


def _hush() -> None:
    """Loggers that write a traceback for what is raised all the same, or for no matter; pymilvus sets its own first."""
    import pymilvus

    for name in (pymilvus.__name__, "milvus_lite", "grpc._server"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def exists(ws: Workspace) -> bool:
    """Whether there is a Milvus to open: a server, or the workspace's file."""
    return settings.milvus_uri() is not None or ws.path("milvus.db").exists()
