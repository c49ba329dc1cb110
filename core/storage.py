"""Atomic files and folders. Nothing is written in place: write beside, then rename."""

import ctypes
import errno
import hashlib
import io
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from core.errors import LlmcfError, Missing

_GROUP = 1 << 20  # rows of a group, as pq.write_table makes them
_FULL = re.compile(r"no space left on|os error (?:28|122)\b|disk is full|disk quota exceeded", re.IGNORECASE)
_EXCHANGE, _AT_WORKING_FOLDER = 2, -100  # of Linux's renameat2


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a sibling path to write to; on success it replaces `path`, on failure it is removed.

    Raises:
        LlmcfError: if the disk is full; `path` is left as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = _beside(path, "tmp")
    try:
        yield beside
        beside.replace(path)
    except Exception as error:
        if says_full(error):
            raise no_space(f"writing {path}") from error
        raise
    finally:
        beside.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield an empty sibling folder to fill; on success it replaces the folder `path`, on failure it is removed.

    Old and new change places in one step where the system can, so that readers always find one of them. Elsewhere, as
    on NFS, there is a moment without either.

    Raises:
        LlmcfError: if the disk is full; `path` is left as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = _beside(path, "tmp")
    beside.mkdir()
    try:
        yield beside
        if not path.exists():
            beside.replace(path)
        elif not _exchange(beside, path):
            _replace(beside, path)
    except Exception as error:
        if says_full(error):
            raise no_space(f"writing {path}") from error
        raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def says_full(error: BaseException) -> bool:
    """Whether an error, or what it came of, says that the disk is full: each library has an error of its own for it.

    None of ours is asked: it may quote what somebody else has written.
    """
    if isinstance(error, LlmcfError):
        return False
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    cause = error.__cause__ or error.__context__
    return bool(_FULL.search(str(error))) or (cause is not None and says_full(cause))


def no_space(doing: str) -> LlmcfError:
    """What is said of a full disk, whoever has met it."""
    return LlmcfError(f"no space left on the disk while {doing}; free some and run again")


def last_says_full(log: str) -> bool:
    """Whether the last line that a process printed says that the disk is full; what it quotes before is not asked."""
    lines = log.split("\n")
    return bool(_FULL.search(next((line for line in reversed(lines) if line.strip()), "")))


def _exchange(one: Path, other: Path) -> bool:
    """Let two paths change places in one step; False where the system or the file system cannot."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    places = (_AT_WORKING_FOLDER, os.fsencode(one), _AT_WORKING_FOLDER, os.fsencode(other))
    return rename is not None and rename(*places, _EXCHANGE) == 0


def _replace(beside: Path, path: Path) -> None:
    """In two renames; the old one comes back if the second fails."""
    old = _beside(path, "old")
    path.replace(old)
    try:
        beside.replace(path)
    except OSError:
        old.replace(path)
        raise
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def scratch_folder(path: Path) -> Iterator[Path]:
    """An empty folder at `path`, gone afterwards; what a killed run left there is removed. For one user at a time."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def private_folder(path: Path) -> None:
    """Make a folder that only this user may look into, and let one that is there be so."""
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(0o700)


def remove(folder: Path) -> None:
    """Delete a folder of ours that nobody needs any more; it is gone at once, or not at all."""
    beside = _beside(folder, "old")
    folder.replace(beside)
    shutil.rmtree(beside, ignore_errors=True)


def _beside(path: Path, kind: str) -> Path:
    """A sibling that nobody else uses, be it another process or another thread of this one."""
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.{kind}")


def write_table(path: Path, table: pa.Table, schema: pa.Schema) -> None:
    """Write `table` as Parquet, cast to `schema` (same column names; a missing or extra column is an error)."""
    with atomic_path(path) as beside:
        pq.write_table(table.select(schema.names).cast(schema), beside, compression="zstd")


def write_parts(path: Path, parts: Iterable[pa.Table], schema: pa.Schema) -> int:
    """Write tables one after another as one Parquet file, the bytes of `write_table` of them all; how many rows.

    No more than a group of rows and a part are in memory.
    """
    rows, held = 0, schema.empty_table()
    with atomic_path(path) as beside, pq.ParquetWriter(beside, schema, compression="zstd") as writer:
        for part in parts:
            held = pa.concat_tables([held, part.select(schema.names).cast(schema)])
            while held.num_rows >= _GROUP:
                writer.write_table(held.slice(0, _GROUP).combine_chunks())
                rows, held = rows + _GROUP, held.slice(_GROUP)
        if held.num_rows or not rows:
            writer.write_table(held.combine_chunks())
    return rows + held.num_rows


def read_table(path: Path, schema: pa.Schema, remedy: str) -> pa.Table:
    """Read a Parquet table of `schema`: a file, or a folder of files in order.

    Raises:
        Missing: if it is not there or has other columns; `remedy` is the command that makes it.
    """
    if not path.exists():
        raise Missing(f"{path} is missing", remedy)
    table = pq.read_table(path) if path.is_dir() else parquet(path)
    if [(field.name, field.type) for field in table.schema] != [(field.name, field.type) for field in schema]:
        raise Missing(f"{path} was written by another version", remedy)
    return table.cast(schema)


def parquet(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """The table of one file that may be replaced meanwhile: pq.read_table opens a path twice and may meet two files."""
    with pq.ParquetFile(path) as opened:
        return opened.read(columns)


def values_digest(path: Path) -> str:
    """Hex digest of the values of a Parquet file, whatever its pages, compression and chunks are."""
    table, sink = parquet(path).replace_schema_metadata().combine_chunks(), _Hashed()
    with pa.ipc.new_stream(pa.PythonFile(sink, mode="w"), table.schema) as writer:
        writer.write_table(table)
    return sink.hash.hexdigest()


class _Hashed(io.RawIOBase):
    """A file of which only the digest is kept."""

    def __init__(self) -> None:
        self.hash = hashlib.sha256()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.hash.update(data)
        return len(data)


def write_json(path: Path, value: Any) -> None:
    with atomic_path(path) as beside:
        beside.write_text(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


Stamp = tuple[int, int, int]


def stamp(path: Path) -> Stamp | None:
    """What changes when a file is replaced, for the price of one look at it: cheap enough for every request."""
    try:
        found = os.stat(path)  # noqa: PTH116 - half the time of Path's
    except FileNotFoundError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


def sha256(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest(*parts: object) -> str:
    """Hex digest of JSON-serialisable values; equal values give equal digests on every machine."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
