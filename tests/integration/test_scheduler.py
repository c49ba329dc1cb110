"""Every DAG by a real scheduler, through kills and backfills, with verbs that only say that they were called."""

import json
import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from core.settings import PROJECT
from llmcf import dag_test
from tests.airflow_server import Airflow, run_airflow
from tests.alert_receiver import Posted, receiving

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]
OTHERS = {  # DAGs that nobody's assets start, with a partition as their timetables make it
    "ingest_interactions": "2025-03-05T05",
    "backfill_metrics": "2025-03-04",
    "monitor": "2025-03-05",
    "housekeeping": "2025-03-05",
    "catch_up": None,
}
NOBODY_WAITS = {"details": {"after": {"features": [], "cot_index": [], "ranker": [], "retriever": []}}}
VERB = f"""#!/bin/sh
echo "$1 $2 $LLMCF_DAG_PARTITION" >> "$CALLED"
if [ "$1" = export ] || [ "$2" = promote ]; then echo '{{"details": {{"release": 7, "live": true}}}}'; fi
if [ "$1 $2" = "workspace pending" ]; then echo '{json.dumps(NOBODY_WAITS)}'; fi
if [ "$1 $2" = "$(cat "$FAIL" 2>/dev/null)" ]; then echo "llmcf: it does not pass" >&2; exit 1; fi
if [ "$1 $2" = "$(cat "$HOLD" 2>/dev/null)" ]; then echo $$ > "$HOLD.pid"; exec sleep 600; fi
"""


LATE = """
from datetime import timedelta

from airflow.sdk import dag
from verbs import days, usual, verb

@dag(schedule=days("0 0 1 1 *"), **usual("Late.", late_after=timedelta(seconds=3)))
def late():
    verb("slow verb")

late()
"""


@dataclass(frozen=True, slots=True)
class World:
    """A running Airflow, and the verbs that its tasks call."""

    airflow: Airflow
    called: Path
    hold: Path
    fail: Path
    posted: Posted

    def alerts(self, dag: str, day: str) -> list[dict]:
        """What was told of a run."""
        run = self.airflow.runs(dag)[day]["dag_run_id"]
        return [one for one in self.posted.messages if f":{dag}:{run}" in one["id"]]

    def calls(self, partition: str) -> Counter[str]:
        """How often each verb was called for a day."""
        lines = [line.rsplit(" ", 1) for line in self.called.read_text().splitlines()]
        return Counter(verb for verb, day in lines if day == partition)

    def holding(self, verb: str) -> None:
        """Let this verb wait, from now on, until it is killed."""
        self.hold.write_text(verb)

    def held(self, within: float = 120) -> int:
        """The process of the verb that waits; the next one will not."""
        until, pid = time.monotonic() + within, self.hold.with_suffix(".pid")
        while not pid.exists() or not pid.read_text().strip():
            assert time.monotonic() < until
            time.sleep(0.2)
        self.hold.unlink()
        number = int(pid.read_text())
        pid.unlink()
        return number


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("scheduled")
    own = folder / "own.json"
    own.write_text(json.dumps({"dataset": "shop", "train_recgen": "never", "events": str(folder)}))
    shutil.copytree(PROJECT / "dags", folder / "dags")
    (folder / "dags" / "late.py").write_text(LATE)
    (folder / "bin").mkdir()
    (folder / "bin" / "llmcf").write_text(VERB)
    (folder / "bin" / "llmcf").chmod(0o755)
    called, hold, fail = (folder / name for name in ("called", "hold", "fail"))
    called.touch()
    variables = {
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "AIRFLOW__CORE__DAGS_FOLDER": str(folder / "dags"),
        "CALLED": str(called),
        "HOLD": str(hold),
        "FAIL": str(fail),
        "LLMCF_DAG_PARAMETERS": str(own),
        "LLMCF_DAG_RETRIES": "0",  # each waits a minute
    }
    with receiving() as posted:
        variables["LLMCF_ALERT_WEBHOOK"] = posted.address
        with run_airflow(folder / "airflow", **variables) as running:
            for name in dag_test.CHAIN:
                running.wait(f"{name} is not there", lambda name=name: running.unpaused(name), seconds=120)
            yield World(running, called, hold, fail, posted)


def ended(world: World, dag: str, day: str | None) -> bool:
    run = world.airflow.runs(dag).get(day)
    return run is not None and run["state"] in {"success", "failed"}


def chain_ended(world: World, day: str) -> None:
    for name in dag_test.CHAIN:
        world.airflow.wait(f"{name} has not ended", lambda name=name: ended(world, name, day), seconds=300)
        run = world.airflow.runs(name)[day]
        assert run["state"] == "success", (name, world.airflow.tasks(name, run["dag_run_id"]))


def test_a_day_runs_to_its_release_by_its_assets(world: World) -> None:
    day = "2025-03-05"
    world.airflow.trigger("materialize_features", day)
    chain_ended(world, day)
    calls = world.calls(day)
    assert (calls["export --dataset"], calls["release promote"]) == (1, 1), "made, and once checked promoted"
    assert calls["release check"] == 1
    assert calls["serve --dataset"] == 1, "what went live"
    assert calls["recgen train"] == 0, "not its day"


def test_every_other_dag_runs_to_its_end(world: World) -> None:
    names = {path.stem for path in (PROJECT / "dags").glob("*.py")} - {"alerts", "assets", "verbs"}
    assert names == {*OTHERS, *dag_test.CHAIN}
    for name, partition in OTHERS.items():
        world.airflow.wait(f"{name} is not there", lambda name=name: world.airflow.unpaused(name), seconds=60)
        world.airflow.trigger(name, partition)
    for name, partition in OTHERS.items():
        world.airflow.wait(f"{name} has not ended", lambda one=(name, partition): ended(world, *one), seconds=300)
        run = world.airflow.runs(name)[partition]
        assert run["state"] == "success", (name, world.airflow.tasks(name, run["dag_run_id"]))
    assert world.calls("2025-03-05T05")["features push"] == 1
    assert world.calls("2025-03-04")["backfill metrics"] == 1
    assert {"monitor --dataset", "release prune", "workspace prune"} <= set(world.calls("2025-03-05"))


def test_a_gate_that_fails_is_one_alert_and_nothing_goes_live_until_it_passes(world: World) -> None:
    day = "2025-03-08"
    world.fail.write_text("release check")
    world.airflow.trigger("materialize_features", day)
    world.airflow.wait("it has not ended", lambda: ended(world, "release", day), seconds=300)
    assert world.airflow.runs("release")[day]["state"] == "failed"
    world.airflow.wait("it is not told", lambda: bool(world.alerts("release", day)), seconds=60)
    calls = world.calls(day)
    assert calls["export --dataset"] == 1
    assert calls["release promote"] == calls["serve --dataset"] == 0, "made, not promoted, not looked at"
    world.fail.unlink()
    world.airflow.clear("release", day)
    chain_ended(world, day)
    (told,) = world.alerts("release", day)
    assert told["kind"] == "run-failed"
    calls = world.calls(day)
    assert (calls["export --dataset"], calls["release promote"]) == (1, 1), "promoted, once it has passed"


def test_a_verb_that_is_killed_stops_the_day_until_it_is_cleared(world: World) -> None:
    day = "2025-03-06"
    world.holding("features join")
    world.airflow.trigger("materialize_features", day)
    os.kill(world.held(), signal.SIGKILL)
    world.airflow.wait("it has not failed", lambda: ended(world, "materialize_features", day), seconds=120)
    run = world.airflow.runs("materialize_features")[day]
    assert run["state"] == "failed"
    world.airflow.wait("it is not told", lambda: bool(world.alerts("materialize_features", day)), seconds=60)
    world.airflow.clear("materialize_features", day)
    chain_ended(world, day)
    (told,) = world.alerts("materialize_features", day)
    assert told["id"].endswith(":features_join:1"), "once, however often it is tried again"
    calls = world.calls(day)
    assert calls["features join"] == 2
    assert calls["features build"] == calls["features apply"] == calls["features materialize"] == 1


def test_a_run_that_is_late_is_told_once_while_it_goes_on(world: World) -> None:
    """By the triggerer, from the second run on: that a run is late, those before it tell."""
    first, second = "2025-01-01", "2026-01-01"
    world.airflow.wait("late is not there", lambda: world.airflow.unpaused("late"), seconds=60)
    world.airflow.trigger("late", first)
    world.airflow.wait("it has not ended", lambda: ended(world, "late", first), seconds=120)
    world.holding("slow verb")
    world.airflow.trigger("late", second)
    verb = world.held()
    world.airflow.wait("it is not told", lambda: bool(world.alerts("late", second)), seconds=120)
    assert world.airflow.runs("late")[second]["state"] == "running"
    os.kill(verb, signal.SIGKILL)
    world.airflow.wait("it has not ended", lambda: ended(world, "late", second), seconds=120)
    world.airflow.wait("it is not told", lambda: len(world.alerts("late", second)) == 2, seconds=60)
    assert [one["kind"] for one in world.alerts("late", second)] == ["run-late", "run-failed"]
    assert not world.alerts("late", first)


def test_a_scheduler_that_is_killed_goes_on_where_it_was(world: World) -> None:
    """Also where the verb of its task still runs: verbs hold locks."""
    day = "2025-03-07"
    world.holding("cot embed")
    world.airflow.trigger("materialize_features", day)
    verb = world.held()
    world.airflow.kill("scheduler")
    world.airflow.start("scheduler")
    chain_ended(world, day)
    os.kill(verb, signal.SIGKILL)
    calls = world.calls(day)
    assert calls["cot embed"] == 2
    assert calls["features build"] == calls["cot index"] == 1
