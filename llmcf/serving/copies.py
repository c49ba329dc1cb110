"""What workers have read of Milvus, in files beside the service: who starts while Milvus is away goes on with them.

A collection never changes, and its name has a digest of its rows, so a file of that name holds the collection.
"""

from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import feather

from core import storage

_KIND = ".arrow"


def keep(folder: Path, collection: str, columns: Mapping[str, np.ndarray]) -> None:
    """Write the columns of a collection, (N,) or (N, X), unless they are there."""
    path = folder / f"{collection}{_KIND}"
    if not path.exists():
        table = pa.table({name: _arrow(values) for name, values in columns.items()})
        with storage.atomic_path(path) as beside:
            feather.write_feather(table, str(beside), compression="uncompressed", chunksize=max(1, len(table)))


def read(folder: Path, collection: str) -> dict[str, np.ndarray] | None:
    """The columns of a collection, mapped and not to be written to; None if there is no whole file of it."""
    try:
        table = feather.read_table(folder / f"{collection}{_KIND}", memory_map=True)
    except (OSError, pa.ArrowInvalid):
        return None
    return {name: _numpy(table[name].combine_chunks()) for name in table.column_names}


def prune(folder: Path, collections: Collection[str]) -> None:
    """Remove the files of all other collections."""
    for path in folder.glob(f"*{_KIND}"):
        if path.stem not in collections:
            path.unlink(missing_ok=True)


def _arrow(values: np.ndarray) -> pa.Array:
    if values.ndim == 1:
        return pa.array(values.tolist() if values.dtype.kind in "OU" else values)
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])


def _numpy(values: pa.Array) -> np.ndarray:
    if pa.types.is_fixed_size_list(values.type):
        return values.flatten().to_numpy().reshape(len(values), values.type.list_size)
    return values.to_numpy(zero_copy_only=False)
