"""Milvus Lite's folder, which one process opens at a time: a wait for its turn, then the cause why there is none."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    retry_if_exception_type,
    stop_after_delay,
    wait_random,
)

from core.errors import LlmcfError, Missing, Unavailable
from core.progress import say

if TYPE_CHECKING:
    from milvus_lite import MilvusLite
    from pymilvus import MilvusClient

PATIENCE_S = 20.0  # for another process; publishing takes longer, a look takes less
_SAY_AFTER_S = 2.0
_WRITING_S = 10.0  # at most, for a file that another thread writes
_HALF_WRITTEN = re.compile("No data left in file|EOF: reading|cannot reshape|Failed to read all data")  # NumPy's words
_HOST = "127.0.0.1"
_LOCK, _COLLECTIONS = "LOCK", "collections"
_OPEN: dict[str, tuple["MilvusLite", Path]] = {}  # what this process serves and of which folder, by address
_OWN: "WeakKeyDictionary[MilvusClient, tuple[MilvusLite, Path]]" = WeakKeyDictionary()


@contextmanager
def opened(path: Path, remedy: str) -> Iterator[str]:
    """Serve the folder from this process on loopback and yield the server's address.

    Args:
        path: made where there is none.
        remedy: the command that fills it, named where something else lies there.

    Raises:
        Unavailable: if another process holds it longer than `PATIENCE_S`.
        Missing: if it is no folder of this Milvus Lite.
        LlmcfError: if it cannot be written to.
    """
    from milvus_lite.adapter.grpc.server import start_server_in_thread
    from milvus_lite.exceptions import DataDirLockedError, MilvusLiteError

    _check(path, remedy)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        start = _waiting(path, DataDirLockedError)
        server, database, port = start(start_server_in_thread, str(path), host=_HOST)
    except DataDirLockedError:
        raise Unavailable(
            f"{path} is {_held(path)} (a running service, or a verb that publishes), for over {PATIENCE_S:.0f} s; "
            "run again when it has ended, or share a Milvus server by LLMCF_MILVUS_URI"
        ) from None
    except PermissionError as error:
        raise LlmcfError(
            f"{path} cannot be written to ({error.strerror}); Milvus Lite needs that to read, too"
        ) from None
    except (MilvusLiteError, NotADirectoryError, FileExistsError, ValueError) as error:
        raise _foreign(path, str(error), remedy) from error
    address = f"http://{_HOST}:{port}"
    _OPEN[address] = database, path
    try:
        yield address
    finally:
        del _OPEN[address]
        server.stop(grace=2)
        database.close()


def own(client: "MilvusClient", address: str) -> None:
    """Say that `client` is connected to what this process has opened at `address`, which it may therefore copy."""
    _OWN[client] = _OPEN[address]


def can_copy(client: "MilvusClient") -> bool:
    """Whether this process has opened the Milvus Lite of `client`: only then are collections copied by their files."""
    return client in _OWN


def copy(client: "MilvusClient", source: str, target: str) -> None:
    """Make `target`, which must not exist, as a copy of the collection `source`, indexes included.

    What a copy that was killed has left is removed first: its snapshot of `source`, and a folder that is no collection.
    """
    database, path = _OWN[client]
    if any(one["name"] == target for one in database.list_snapshots(source)):
        database.drop_snapshot(source, target)
    shutil.rmtree(path / _COLLECTIONS / target, ignore_errors=True)
    database.create_snapshot(source, target)
    try:
        database.restore_snapshot(source, target, target)
    finally:
        database.drop_snapshot(source, target)


def load(client: "MilvusClient", name: str) -> None:
    """Load a collection.

    Milvus Lite writes indexes in the background, so that a load may meet half of a file: such a one is tried again.
    """
    from pymilvus.exceptions import MilvusException

    def half_written(error: BaseException) -> bool:
        return isinstance(error, MilvusException) and bool(_HALF_WRITTEN.search(str(error)))

    again = Retrying(
        retry=retry_if_exception(half_written),
        stop=stop_after_delay(_WRITING_S),
        wait=wait_random(0.05, 0.2),
        reraise=True,
    )
    again(client.load_collection, name)


def holder(path: Path) -> int | None:
    """The process that holds the folder, where Linux tells it."""
    try:
        inode = str((path / _LOCK).stat().st_ino)
        locks = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    for line in locks:  # 1: FLOCK ADVISORY WRITE <pid> <major>:<minor>:<inode> 0 EOF
        words = line.split()
        if words[1] == "FLOCK" and words[5].rsplit(":", 1)[1] == inode and int(words[4]) > 0:
            return int(words[4])
    return None


def _waiting(path: Path, locked: type[Exception]) -> Retrying:
    """Calls a function until it no longer raises `locked`, and says once what it waits for."""
    told = False

    def tell(state: RetryCallState) -> None:
        nonlocal told
        if not told and (state.seconds_since_start or 0) > _SAY_AFTER_S:
            told = True
            say(f"waiting for {path}, {_held(path)}")

    return Retrying(
        retry=retry_if_exception_type(locked),
        stop=stop_after_delay(PATIENCE_S),
        wait=wait_random(0.05, 0.3),
        before_sleep=tell,
        reraise=True,
    )


def _held(path: Path) -> str:
    pid = holder(path)
    if pid == os.getpid():
        return "held by another thread of this process"
    return f"held by process {pid}" if pid else "held by another process"


def _check(path: Path, remedy: str) -> None:
    """Milvus Lite would write into any folder; before version 3 it kept a file."""
    if path.is_file():
        raise _foreign(path, "a file, and this version keeps a folder", remedy)
    if path.is_dir():
        names = {inside.name for inside in path.iterdir()}
        if names and not names & {_LOCK, _COLLECTIONS}:
            raise _foreign(path, f"a folder with {min(names)} in it", remedy)


def _foreign(path: Path, what: str, remedy: str) -> Missing:
    return Missing(f"{path} is not of this Milvus Lite ({what}); move it away", remedy)
