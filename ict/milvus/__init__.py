"""Milvus: versioned collections of vectors, and searching them. `publish` and `Collection.search` are the way in."""

from ict.milvus.collection import Collection, account_of, widths_of
from ict.milvus.connection import Server, connect, exists
from ict.milvus.indexes import IndexConfig
from ict.milvus.records import Records
from ict.milvus.versions import (
    alias,
    drop_versions,
    forget,
    listed,
    live_version,
    names,
    number,
    open_live,
    publish,
    rollback,
    versions,
)

__all__ = [
    "Collection",
    "IndexConfig",
    "Records",
    "Server",
    "account_of",
    "alias",
    "connect",
    "drop_versions",
    "exists",
    "forget",
    "listed",
    "live_version",
    "names",
    "number",
    "open_live",
    "publish",
    "rollback",
    "versions",
    "widths_of",
]
