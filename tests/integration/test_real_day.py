"""Every DAG by a real Airflow with the real verbs, on the example shop: a day to its release, what follows, again."""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from benchmarks import measured
from benchmarks.daily import Asked, Day, airflow_on, content, environment, take_day
from core.settings import PROJECT
from llmcf.dag_test import CHAIN
from llmcf.feature_store import ledger
from llmcf.serving import releases
from tests.airflow_server import Airflow

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1200)]
SHOP, DAY, HOUR = "shop", "2026-07-01", "2026-07-01T05"
EVENT = {"user": "c0", "item": "G05", "timestamp": 1782882600}


@dataclass(frozen=True, slots=True)
class World:
    """An Airflow that has taken the shop's day, where it keeps things, and how that went."""

    airflow: Airflow
    folder: Path
    first: Day

    def ends(self, dag: str, partition: str | None) -> str:
        """How a run by hand ends."""
        self.airflow.wait(f"{dag} is not there", lambda: self.airflow.unpaused(dag), seconds=60)
        self.airflow.trigger(dag, partition)
        over = lambda: self.airflow.runs(dag)[partition]["state"] in {"success", "failed"}  # noqa: E731
        self.airflow.wait(f"{dag} has not ended", over, seconds=300)
        return self.airflow.runs(dag)[partition]["state"]


@pytest.fixture(scope="module")
def world(language_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    del language_model
    folder = tmp_path_factory.mktemp("real-day")
    (folder / "events").mkdir()
    now = datetime.now(UTC)  # an hour that ends meanwhile has a run of its own, which waits for its file
    for hour in (HOUR, *(f"{now + timedelta(hours=more):%Y-%m-%dT%H}" for more in (-1, 0, 1))):
        (folder / "events" / f"{hour}.jsonl").write_text(json.dumps(EVENT) + "\n")
    parameters = {
        "dataset": SHOP,
        "events": str(folder / "events"),
        "train_recgen": "never",
        "engine": "openvino",
        "cot_limit": 8,
        "recipe": "strict",
        "retriever_framework": "none",
    }
    asked = Asked(
        dataset=SHOP,
        source=str(PROJECT / "examples" / "shop"),
        day=DAY,
        kills=0,
        seed=0,
        parameters=parameters,
    )
    with pytest.MonkeyPatch.context() as patch, airflow_on(asked, folder) as airflow:
        first = take_day(airflow, asked, folder)
        for name, value in environment(folder).items():
            patch.setenv(name, value)
        yield World(airflow, folder, first)


def test_a_day_becomes_a_live_release(world: World) -> None:
    assert {one.name.partition(".")[0] for one in world.first.tasks} == {*CHAIN} - {"train_recgen"}
    pointer = releases.pointer(SHOP)
    assert pointer is not None
    assert pointer.release == 1
    release = releases.require(SHOP)
    assert release.workspace.as_of == DAY
    assert {name: one.framework for name, one in release.stages.items()} == {"ranker": "llm-cf", "user_vector": "none"}
    assert f"{SHOP}/shuffled-ties/{DAY}/cot/texts" in world.first.content


def test_the_hours_events_go_to_what_is_live(world: World) -> None:
    assert world.ends("ingest_interactions", HOUR) == "success"
    (taken,) = ledger.events(releases.require(SHOP).workspace)
    assert (taken.user, taken.item) == (EVENT["user"], EVENT["item"])


def test_the_day_is_measured_watched_and_cleared_up_after(world: World) -> None:
    words = ("data", "prepare", "--dataset", SHOP)
    measured.run([str(Path(sys.executable).with_name("llmcf")), *words], environment=environment(world.folder))
    assert world.ends("backfill_metrics", "2026-07-02") == "success"
    assert list((world.folder / "home" / SHOP / "metrics").rglob("day=2026-07-02/*"))
    assert world.ends("monitor", DAY) == "success"
    assert list((world.folder / "home" / SHOP / "monitoring").rglob("*.html"))
    assert world.ends("housekeeping", DAY) == "success"
    assert world.ends("catch_up", None) == "success"


def test_the_same_day_again_changes_nothing(world: World) -> None:
    before = content(world.folder / "home")
    world.airflow.trigger(CHAIN[0], DAY)
    for name in CHAIN:
        world.airflow.wait(f"{name} has not ended", lambda name=name: _runs(world.airflow, name) == 2, seconds=300)
    assert content(world.folder / "home") == before
    pointer = releases.pointer(SHOP)
    assert pointer is not None
    assert pointer.release == 1


def _runs(airflow: Airflow, dag: str) -> int:
    found = airflow.ask("GET", f"dags/{dag}/dagRuns?limit=100")["dag_runs"]
    assert not [one for one in found if one["state"] == "failed"]
    return sum(one["partition_key"] == DAY and one["state"] == "success" for one in found)
