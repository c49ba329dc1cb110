"""What was read of Milvus, in files beside the service, which starts from them: Milvus takes many times as long.

A collection never changes, and its name has a digest of its rows, so a file of that name holds the collection. With it
stands what it was found to go with (llmcf/serving/held.py): for a release that is made otherwise there is no copy. It
is Arrow's file format and, behind it, the SHA-256 of that: a file that was damaged is as good as none.
"""

import hashlib
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import feather

from core import settings, storage

_KIND = ".arrow"
_FIT = b"fit"
_DIGEST = hashlib.sha256().digest_size
_OLD_S = 3600.0  # a file that is written beside its place, and no younger, is of a worker that was killed


def folder(dataset: str) -> Path:
    """Where those of a data set are."""
    return settings.home() / dataset / "service" / "of-milvus"


def keep(folder: Path, collection: str, columns: Mapping[str, np.ndarray], fit: str) -> None:
    """Write the columns of a collection, (N,) or (N, X), and what it goes with, unless they are there.

    Raises:
        OSError, ValueError, LlmcfError: if they cannot be written; nothing is lost by it but the copy.
    """
    path = folder / f"{collection}{_KIND}"
    if read(folder, collection, fit) is not None:
        return
    table = pa.table({name: _arrow(values) for name, values in columns.items()}).replace_schema_metadata({_FIT: fit})
    storage.private_folder(folder)
    with storage.atomic_path(path) as beside:
        feather.write_feather(table, str(beside), compression="uncompressed", chunksize=max(1, len(table)))
        digest = bytes.fromhex(storage.sha256(beside))
        with beside.open("ab") as stream:
            stream.write(digest)


def read(folder: Path, collection: str, fit: str) -> dict[str, np.ndarray] | None:
    """The columns of a collection, mapped and not to be written to; None if there is no whole file of it that fits."""
    found = _whole(folder / f"{collection}{_KIND}")
    if found is None:
        return None
    try:
        table = feather.read_table(pa.BufferReader(found))
    except (OSError, pa.ArrowInvalid):
        return None
    if (table.schema.metadata or {}).get(_FIT) != fit.encode():
        return None
    return {name: _numpy(table[name].combine_chunks()) for name in table.column_names}


def prune(folder: Path, collections: Collection[str]) -> None:
    """Remove the files of all other collections, and what killed workers had begun."""
    with suppress(OSError):  # another time, then
        for path in folder.glob(f"*{_KIND}"):
            if not path.name.startswith(".") and path.stem not in collections:
                path.unlink(missing_ok=True)
        for path in folder.glob(f".*{_KIND}.*.tmp"):
            if time.time() - path.stat().st_mtime > _OLD_S:
                path.unlink(missing_ok=True)


def _whole(path: Path) -> pa.Buffer | None:
    """What a file holds before its digest, mapped; None if it is not there or the digest is another one's."""
    try:
        with pa.memory_map(str(path)) as mapped:
            found = mapped.read_buffer()
    except (OSError, pa.ArrowInvalid):
        return None
    said, held = found.slice(max(0, found.size - _DIGEST)), found.slice(0, max(0, found.size - _DIGEST))
    return held if hashlib.sha256(held).digest() == said.to_pybytes() else None


def _arrow(values: np.ndarray) -> pa.Array:
    if values.ndim == 1:
        return pa.array(values.tolist() if values.dtype.kind in "OU" else values)
    if not values.shape[1]:  # as categories are where a data set has none
        return pa.array([[]] * len(values), type=pa.list_(pa.from_numpy_dtype(values.dtype), 0))
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])


def _numpy(values: pa.Array) -> np.ndarray:
    if pa.types.is_fixed_size_list(values.type):
        return values.flatten().to_numpy().reshape(len(values), values.type.list_size)
    return values.to_numpy(zero_copy_only=False)
