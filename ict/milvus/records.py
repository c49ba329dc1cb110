"""What a collection is to hold, and writing it.

A row carries a digest of itself, so that two versions can be compared without reading their vectors, and the whole has
one that is part of a version's name: the name never means other rows.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from core import storage
from core.contracts import PAD
from core.errors import UsageError
from ict.exact import Exact
from ict.filters import Filter
from ict.milvus.indexes import METRIC, IndexConfig

if TYPE_CHECKING:
    from pymilvus import CollectionSchema, MilvusClient

DIGEST = "digest"  # the column of the rows' digests
DIGITS = 12  # of the digest in a version's name
_INSERT = 2000  # rows a call: 1,152 floats each stay far below gRPC's 64 MiB
_TEXT_BYTES = 8192

Column = np.ndarray | Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Records:
    """What a collection holds, column by column, each of the same length as `ids`, and what must be true of it.

    Args:
        ids: primary keys, int64, positive, ascending.
        vectors: float32 (n, width) by field name, compared by inner product.
        scalars: by field name: int64 (n,), lists of int64 padded with PAD (n, longest), or strings.
        index: of the vectors that are searched.
        kept: vectors that are kept and not searched. A server that takes one vector a row goes without them.
        facts: what the account of a version says of where the rows come from, such as the encoder; values of JSON.
        until: the first day that no row may be of, by its `day`.
        checks: filters under which the recall of a version is measured, by what they are called.
        k: of recall@k.
    """

    ids: np.ndarray
    vectors: Mapping[str, np.ndarray]
    scalars: Mapping[str, Column] = field(default_factory=dict)
    index: IndexConfig = field(default_factory=IndexConfig)
    kept: frozenset[str] = frozenset()
    facts: Mapping[str, Any] = field(default_factory=dict)
    until: int | None = None
    checks: Mapping[str, Sequence[Filter]] = field(default_factory=lambda: {"no filter": [Filter()]})
    k: int = 4

    @property
    def searched(self) -> list[str]:
        return [name for name in self.vectors if name not in self.kept]

    def columns(self) -> dict[str, Column]:
        """Every field of the collection by its name."""
        return {"id": self.ids, **self.vectors, **self.scalars, DIGEST: self.row_digests}

    def exact(self, vector: str) -> Exact:
        """The reference of a vector field: the same rows in memory."""
        numbers = {name: values for name, values in self.scalars.items() if isinstance(values, np.ndarray)}
        return Exact(self.ids, self.vectors[vector], numbers)

    def with_one_vector(self, server: object) -> "Records":
        """Without what is only kept.

        Raises:
            UsageError: if two vectors are searched.
        """
        if len(self.searched) > 1:
            raise UsageError(
                f"{server} holds one vector a row, and {' and '.join(self.searched)} are to be searched; "
                "use Milvus 2.4 or later, or Milvus Lite"
            )
        return replace(self, vectors={name: self.vectors[name] for name in self.searched})

    @cached_property
    def row_digests(self) -> np.ndarray:
        """Of each row's values without its id, int64 (n,)."""
        numbers = [values for values in (*self.vectors.values(), *self.scalars.values()) if not _texts(values)]
        texts = [values for values in self.scalars.values() if _texts(values)]
        wide = [np.ascontiguousarray(values).reshape(len(self.ids), -1) for values in numbers]
        found = np.empty(len(self.ids), dtype=np.int64)
        for row in range(len(self.ids)):
            digest = hashlib.blake2b(digest_size=8)
            for values in wide:
                digest.update(values[row].data)
            for values in texts:
                digest.update(values[row].encode() + b"\0")
            found[row] = int.from_bytes(digest.digest(), "little", signed=True)
        return found

    def digest(self) -> str:
        """Of all rows, of the fields' names and of the index."""
        bytes_of = (hashlib.sha256(values.tobytes()).hexdigest() for values in (self.ids, self.row_digests))
        return storage.digest(*bytes_of, list(self.vectors), list(self.scalars), self.index.as_json())[:DIGITS]


def create(client: "MilvusClient", name: str, records: Records) -> None:
    """An empty collection for `records`."""
    index = client.prepare_index_params()
    for vector in records.vectors:
        one = IndexConfig() if vector in records.kept else records.index
        index.add_index(vector, index_type=one.kind, metric_type=METRIC, params={"params": one.build_params()})
    client.create_collection(name, schema=_schema(client, records), index_params=index, consistency_level="Strong")


def rows(columns: Mapping[str, Column], places: Sequence[int] | np.ndarray) -> "Iterable[list[dict[str, Any]]]":
    """The rows at `places`, as many a turn as a call should carry."""
    for start in range(0, len(places), _INSERT):
        part = {name: _plain(values, places[start : start + _INSERT]) for name, values in columns.items()}
        yield [dict(zip(part, row, strict=True)) for row in zip(*part.values(), strict=True)]


def _schema(client: "MilvusClient", records: Records) -> "CollectionSchema":
    from pymilvus import DataType

    schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("id", DataType.INT64, is_primary=True)
    for name, values in records.vectors.items():
        schema.add_field(name, DataType.FLOAT_VECTOR, dim=values.shape[1])
    for name, values in records.scalars.items():
        if _texts(values):
            schema.add_field(name, DataType.VARCHAR, max_length=_TEXT_BYTES)
        elif isinstance(values, np.ndarray) and values.ndim == 2:
            capacity = values.shape[1]
            schema.add_field(name, DataType.ARRAY, element_type=DataType.INT64, max_capacity=capacity)
        else:
            schema.add_field(name, DataType.INT64)
    schema.add_field(DIGEST, DataType.INT64)
    return schema


def _plain(values: Column, places: Sequence[int] | np.ndarray) -> list[Any]:
    """Integers, lists and texts as Python values, vectors as rows; a text too long for its field is cut."""
    if not isinstance(values, np.ndarray):
        return [values[place].encode()[:_TEXT_BYTES].decode(errors="ignore") for place in places]
    part = values[np.asarray(places)]
    if part.ndim == 1:
        return part.tolist()
    return [row[row != PAD].tolist() for row in part] if part.dtype.kind == "i" else list(part)


def _texts(values: Column) -> bool:
    return not isinstance(values, np.ndarray)
