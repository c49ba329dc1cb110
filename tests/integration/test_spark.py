"""The preparation on Spark gives the tables that DuckDB gives. Lane: `make test`, which builds the environment."""

import shutil
from pathlib import Path

import pytest

from core import environments
from core.data import tables
from core.data.prepare import prepare
from core.errors import LlmcfError, UsageError
from core.settings import Workspace
from tests.amazon_files import reviewed

pytestmark = pytest.mark.integration

# Tables of some thousand rows take longer to be compiled for than to be read.
INTERPRETED = """
spark.sql.adaptive.enabled false
spark.sql.codegen.factoryMode NO_CODEGEN
spark.sql.codegen.wholeStage false
spark.driver.extraJavaOptions -XX:TieredStopAtLevel=1 -XX:+UseSerialGC
"""


@pytest.fixture(autouse=True)
def spark(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    try:
        environments.python("spark")
    except LlmcfError as error:
        pytest.skip(str(error))
    if not shutil.which("java"):
        pytest.skip("Spark needs Java 17: apt-get install openjdk-17-jre-headless")
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path))
    monkeypatch.setenv("LLMCF_SPARK_MASTER", "local[2]")
    (tmp_path / "spark").mkdir()
    (tmp_path / "spark" / "spark-defaults.conf").write_text(INTERPRETED, encoding="utf-8")
    monkeypatch.setenv("SPARK_CONF_DIR", str(tmp_path / "spark"))


@pytest.mark.parametrize("order", ["shuffled-ties", "global-time"])
def test_spark_and_duckdb_give_the_same_tables(source: Path, order: str) -> None:
    on_duckdb, on_spark = Workspace("movielens-100k", order), Workspace("movielens-100k", order, "2030-01-01")
    first = prepare(on_duckdb, source=source, seed=3, negative_draws=2)
    again = prepare(on_spark, source=source, seed=3, negative_draws=2, engine="spark")
    assert not again.skipped
    for load in (tables.interactions, tables.comments, tables.rows, tables.items, tables.users):
        assert load(on_spark).equals(load(on_duckdb))
    assert again.details == first.details


def test_comments_lie_at_the_same_interactions(tmp_path: Path) -> None:
    on_duckdb = reviewed(Workspace("amazon-beauty", "shuffled-ties"), tmp_path / "source")
    on_spark = Workspace("amazon-beauty", "shuffled-ties", "2030-01-01")
    prepare(on_spark, source=tmp_path / "source", seed=7, engine="spark")
    assert tables.comments(on_spark).num_rows == 108
    assert tables.comments(on_spark).equals(tables.comments(on_duckdb))


def test_a_mistake_is_told_as_on_duckdb(source: Path) -> None:
    with pytest.raises(UsageError, match="no interaction before --as-of 1990-01-01"):
        prepare(Workspace("movielens-100k", "published", "1990-01-01"), source=source, seed=1, engine="spark")
