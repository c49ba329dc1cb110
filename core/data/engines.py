"""Where the protocol's expressions run: DuckDB in this process, or Spark by configuration.

Ibis was chosen over Feast's Spark engine because the preparation comes before Feast: one set of expressions, two
backends, and the same Parquet out of both. What grows with the interactions runs on the engine; what grows with the
catalogue or the calendar passes through this process.
"""

from pathlib import Path
from typing import Protocol

import ibis
import pyarrow as pa
import pyarrow.parquet as pq
from ibis.expr.types import Table

from core import settings

ENGINES = ("duckdb", "spark")


class Engine(Protocol):
    """Runs expressions over tables that it has read."""

    def read(self, name: str, table: pa.Table) -> Table:
        """A table of ours under a name of its own."""
        ...

    def stage(self, name: str, expression: Table) -> Table:
        """The result of an expression, computed once."""
        ...

    def write(self, expression: Table, path: Path) -> None:
        """The result as Parquet at `path`: a file, or a folder of files in order."""
        ...


class _Ibis:
    """What both backends share: tables travel as Parquet through a scratch folder."""

    def __init__(self, backend: ibis.BaseBackend, scratch: Path) -> None:
        self.backend = backend
        self.scratch = scratch

    def read(self, name: str, table: pa.Table) -> Table:
        path = self.scratch / f"{name}.in.parquet"
        pq.write_table(table, path)
        return self.backend.read_parquet(path, table_name=name)

    def stage(self, name: str, expression: Table) -> Table:
        path = self.scratch / f"{name}.parquet"
        self.write(expression, path)
        return self.backend.read_parquet(path, table_name=name)

    def write(self, expression: Table, path: Path) -> None:
        raise NotImplementedError


class DuckDb(_Ibis):
    """DuckDB, which spills to the scratch folder what does not fit into memory."""

    def __init__(self, scratch: Path) -> None:
        super().__init__(ibis.duckdb.connect(temp_directory=str(scratch / "spill")), scratch)

    def write(self, expression: Table, path: Path) -> None:
        self.backend.to_parquet(expression, path, compression="zstd")


class Spark(_Ibis):
    """The Spark session of this process: LLMCF_SPARK_MASTER, `local[*]` unless set."""

    def __init__(self, scratch: Path) -> None:
        from pyspark.sql import SparkSession  # pyright: ignore[reportMissingImports] (in an environment of its own)

        builder = SparkSession.builder.master(settings.spark_master()).appName("llmcf")
        quiet = {"spark.ui.enabled": "false", "spark.ui.showConsoleProgress": "false", "spark.log.level": "ERROR"}
        local = {
            "spark.driver.host": "127.0.0.1",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.sql.shuffle.partitions": "4",  # the default of 200 is for clusters
        }
        options = quiet | (local if settings.spark_master().startswith("local") else {})
        for name, value in options.items():
            builder = builder.config(name, value)
        super().__init__(ibis.pyspark.connect(builder.getOrCreate()), scratch)

    def write(self, expression: Table, path: Path) -> None:
        self.backend.to_parquet_dir(expression, path)
