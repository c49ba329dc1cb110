"""Writing rows into online stores through Feast, in this process."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from core import settings, storage
from core.storage import Stamp
from llmcf.feature_store import redis_address
from llmcf.feature_store.opening import open_store
from llmcf.feature_store.registry import APPLIED

if TYPE_CHECKING:
    from feast import FeatureStore


def write_rows(store: "FeatureStore", name: str, rows: pa.Table) -> None:
    """Write into what hangs on the push source `name`, or into the view of that name."""
    frame = rows.to_pandas()
    if any(source.name == name for source in store.list_data_sources(allow_cache=True)):
        store.push(name, frame)
    else:
        store.write_to_online_store(name, frame)


class OpenStores:
    """Feature stores that stay open, each opened again when another release of the features is in its folder."""

    def __init__(self) -> None:
        self._open: dict[Path, tuple[Stamp | None, FeatureStore]] = {}

    def open(self, folder: Path) -> "FeatureStore":
        """The store in a folder."""
        stamp = storage.stamp(folder / APPLIED)
        if self._open.get(folder, (None,))[0] != stamp or stamp is None:
            self._open[folder] = stamp, open_store(folder)
        return self._open[folder][1]

    def write(self, folder: Path, name: str, rows: pa.Table) -> None:
        """As `write_rows`.

        Raises:
            Unavailable: if LLMCF_REDIS names a server that does not answer.
        """
        connection = settings.redis_connection()
        if connection is None:
            self._write(folder, name, rows)
            return
        from redis import RedisError

        redis_address.require(connection)  # whose client gives up after a time; Feast's waits
        try:
            self._write(folder, name, rows)
        except RedisError as error:
            raise redis_address.failed(connection, error) from None

    def _write(self, folder: Path, name: str, rows: pa.Table) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Feast's own
            write_rows(self.open(folder), name, rows)
