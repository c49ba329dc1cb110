"""`airflow standalone`, and `airflow backfill create` of the DAG `backfill_metrics`: a day fails, one is cancelled."""

import os
import shutil
import sys
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.settings import PROJECT, Workspace
from llmcf.daily import backfill, partitions
from llmcf.daily.choosing import date_of
from tests.airflow_server import TOGETHER, Airflow, run_airflow
from tests.official_files import START, prepared
from tests.online_release import make_release

pytestmark = pytest.mark.integration
DATASET, ORDER, DAG = "movielens-100k", "shuffled-ties", "backfill_metrics"
FIRST = START // 86_400
VERB = """#!/bin/sh
while [ -e "{hold}" ]; do sleep 0.2; done
PYTHONPATH={project} exec {python} -m llmcf "$@"
"""


def day(number: int) -> str:
    return str(date_of(FIRST + number))


@pytest.fixture(scope="module")
def hold(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As long as this file is there, verbs wait."""
    return tmp_path_factory.mktemp("hold") / "hold"


@pytest.fixture(scope="module")
def world(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """All there is of a small MovieLens, with a release of the data before day 60."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HOME", "TRITON_MODELS", "RUNS", "RESULTS"):
            patch.setenv(f"LLMCF_{name}", str(tmp_path_factory.mktemp(name.lower())))
        make_release(prepared(Workspace(DATASET, ORDER, day(60)), source), seed=1)
        yield prepared(Workspace(DATASET, ORDER), source)


@pytest.fixture(scope="module")
def airflow(world: Workspace, hold: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Airflow]:
    del world
    folder = tmp_path_factory.mktemp("airflow")
    (folder / "llmcf").write_text(VERB.format(hold=hold, project=PROJECT, python=sys.executable))
    (folder / "llmcf").chmod(0o755)
    places = (
        str(folder),
        str(Path(sys.executable).parent),
        os.environ["PATH"],
    )  # standalone starts `airflow` by its name
    with run_airflow(folder / "home", TOGETHER, PATH=os.pathsep.join(places)) as made:
        made.command("dags", "unpause", DAG)
        yield made


def asked(airflow: Airflow, first: int, last: int, *words: str) -> None:
    """Runs of the days from one to another, the last not counted: its tick comes after its midnight.

    A DAG has one backfill at a time, and the scheduler ends it some seconds after its last run.
    """
    airflow.wait(
        "a backfill goes on", lambda: not any(one["completed_at"] is None for one in made(airflow)), seconds=90
    )
    days = ["--from-date", day(first), "--to-date", day(last)]
    airflow.command("backfill", "create", "--dag-id", DAG, *days, "--max-active-runs", "2", *words)


def made(airflow: Airflow) -> list[dict[str, Any]]:
    """The backfills of the DAG, oldest first."""
    return sorted(airflow.ask("GET", f"backfills?dag_id={DAG}")["backfills"], key=lambda one: one["id"])


def states(airflow: Airflow, first: int, last: int) -> dict[str, str]:
    runs = airflow.runs(DAG)
    return {one: runs[one]["state"] for one in map(day, range(first, last)) if one in runs}


def ended(airflow: Airflow, first: int, last: int) -> bool:
    found = states(airflow, first, last)
    return len(found) == last - first and set(found.values()) <= {"success", "failed"}


def files() -> dict[str, bytes]:
    root = partitions.root(DATASET, ORDER)
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_standalone_is_all_four_parts(airflow: Airflow) -> None:
    parts = ("metadatabase", "scheduler", "dag_processor", "triggerer")
    airflow.wait("not all is healthy", lambda: all(airflow.health()[part] == "healthy" for part in parts), seconds=60)


def test_days_of_a_backfill_are_the_files_of_the_verb(airflow: Airflow, world: Workspace) -> None:
    """A day without data fails, and the others do not care."""
    told = backfill.backfill(DATASET, ORDER, first=day(60), last=day(66)).details
    at_once = files()
    shutil.rmtree(partitions.root(DATASET, ORDER))
    asked(airflow, 60, 67)
    airflow.wait("the days have not ended", lambda: ended(airflow, 60, 67), seconds=300)
    expected = {day(number): "success" for number in range(60, 67)} | dict.fromkeys(told["empty"], "failed")
    assert told["empty"]
    assert states(airflow, 60, 67) == expected
    assert files() == at_once
    assert world.root.exists()


def cancelled(airflow: Airflow, hold: Path, first: int, last: int) -> None:
    """A backfill of which one day at least runs and one waits when it is cancelled; those that run end well."""
    hold.touch()
    asked(airflow, first, last)
    airflow.wait("no day runs", lambda: "running" in states(airflow, first, last).values(), seconds=60)
    airflow.ask("PUT", f"backfills/{made(airflow)[-1]['id']}/cancel")
    hold.unlink()
    airflow.wait("what ran has not ended", lambda: ended(airflow, first, last), seconds=60)


def test_a_cancelled_backfill_is_repaired(airflow: Airflow, hold: Path) -> None:
    """As the page says: another one runs what failed. A run that somebody cleared waits for ever, and is deleted."""
    shutil.rmtree(partitions.root(DATASET, ORDER), ignore_errors=True)  # alone, it is the first to write
    cancelled(airflow, hold, 67, 70)
    stopped = [one for one, state in states(airflow, 67, 70).items() if state == "failed"]
    assert len(stopped) == 1
    run = airflow.runs(DAG)[stopped[0]]["dag_run_id"]
    clear = {"dry_run": False, "dag_run_id": run, "only_failed": False, "reset_dag_runs": True}
    airflow.ask("POST", f"dags/{DAG}/clearTaskInstances", clear)
    airflow.ask("DELETE", f"dags/{DAG}/dagRuns/{urllib.parse.quote(run, safe='')}")
    asked(airflow, 67, 70, "--reprocess-behavior", "failed")
    airflow.wait("it is not repaired", lambda: set(states(airflow, 67, 70).values()) == {"success"}, seconds=120)
    assert [name.partition("/")[0] for name in files()] == [f"day={day(number)}" for number in range(67, 70)]
