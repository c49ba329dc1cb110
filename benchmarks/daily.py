"""A day by the real scheduler: what Airflow adds to its verbs, what a day without news costs, and ten random kills.

    .venv/bin/python -m benchmarks.daily [--dataset shop --source examples/shop --day 2026-07-01 --kills 10 --seed 0]

Four homes of one data set take the same day, from raw files to a live release, by all DAGs of the chain: once with
verbs that do nothing (Airflow's own time), once as it is and then once more, where nothing has changed; once by hand,
the very commands that Airflow ran, one after the other; and once while, at random moments, the scheduler, a task's
process or its verb is killed, the scheduler is started again and what failed is cleared. The contents of all steps and
of the release must then be those of the first home. The last one is given the first's texts: an engine that writes
several at once rounds otherwise from run to run. (A writer that is killed: tests/integration/test_generate.py.)
Writes benchmarks/results/daily.{json,md}.
"""

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil

from benchmarks import daily_page, measured
from core import settings, storage
from core.progress import say
from core.settings import PROJECT
from core.steps import STAMP
from llm.texts import cache
from llmcf.dag_test import CHAIN
from tests.airflow_server import Airflow, run_airflow

_HOLDS = ("count", "encoder", "index", "k", "recall", "rows", "until", "widths")
TARGETS = ("scheduler", "task", "verb")
_LLMCF = str(Path(sys.executable).with_name("llmcf"))
_SILENT = """#!/bin/sh
if [ "$1" = export ] || [ "$2" = promote ]; then echo '{"details": {"release": 1, "live": true}}'; fi
"""
_GATES = 'off = ["auc", "gauc", "logloss", "ece", "p50", "p99"]\n'  # a shop is small, and a machine under test slow
_WITHIN_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is run: a data set from `source`, its day, and how."""

    dataset: str
    source: str
    day: str
    kills: int
    seed: int
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Task:
    """One that has ended: its verb's command, the command's own environment, and how long it ran, in seconds."""

    name: str
    command: str
    environment: Mapping[str, str]
    began: float
    seconds: float


@dataclass(slots=True)
class Day:
    """A day that has come to its end: seconds from the first trigger, its tasks, the digests of what it left."""

    seconds: float
    tasks: list[Task]
    content: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Account:
    """What was found, times in seconds. `killed` are moments and targets; `odd` steps that hold other bytes than those
    of the first run."""

    own: float = 0.0
    first: float = 0.0
    again: float = 0.0
    verbs: int = 0
    by_hand: dict[str, float] = field(default_factory=dict)
    steps: int = 0
    killed: list[tuple[float, str]] = field(default_factory=list)
    cleared: int = 0
    through_kills: float = 0.0
    odd: dict[str, list[str]] = field(default_factory=dict)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="shop")
    parser.add_argument("--source", default="examples/shop", help="its files (default: %(default)s)")
    parser.add_argument("--day", default="2026-07-01", help="(default: %(default)s)")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0, help="of the kills")
    parser.add_argument("--engine", default="openvino", help="what runs the language model (default: %(default)s)")
    parser.add_argument("--texts", type=int, default=20, help="rows that get one (default: %(default)s)")
    given = parser.parse_args()
    parameters = {
        "dataset": given.dataset,
        "train_recgen": "never",
        "engine": given.engine,
        "cot_limit": given.texts,
        "recipe": "strict",
    }
    asked = Asked(
        dataset=given.dataset,
        source=str(PROJECT / given.source),
        day=given.day,
        kills=given.kills,
        seed=given.seed,
        parameters=parameters,
    )
    account = run(asked)
    command = f"python -m benchmarks.daily --dataset {asked.dataset} --day {asked.day} --kills {asked.kills} "
    command += f"--seed {asked.seed} --engine {given.engine} --texts {given.texts}"
    measured.write("daily", {"command": command, **asdict(account)}, daily_page.page(account, asked, command))
    say((measured.RESULTS / "daily.md").read_text(encoding="utf-8"))


def run(asked: Asked) -> Account:
    """Measure; in folders of its own, with the language models of the home that the environment names.

    Raises:
        LlmcfError: if a verb fails by hand.
        AssertionError: if Airflow does not come up, or a run does not end.
    """
    account = Account()
    with tempfile.TemporaryDirectory(prefix="llmcf-daily-") as place:
        folder = Path(place)
        with airflow_on(asked, folder / "silent", silent=True) as airflow:
            account.own = take_day(airflow, asked).seconds
        say(f"Airflow's own: {account.own:.0f} s")
        with airflow_on(asked, folder / "whole") as airflow:
            first = take_day(airflow, asked, folder / "whole")
            say(f"a day: {first.seconds:.0f} s, {len(first.tasks)} tasks")
            again = take_day(airflow, asked, folder / "whole")
        account.first, account.again = first.seconds, again.seconds
        account.verbs, account.steps = len(first.tasks), len(first.content)
        account.odd["run again"] = _odd(first.content, again.content)
        say(f"once more: {again.seconds:.0f} s")
        account.by_hand = _by_hand(asked, folder / "hand", first.tasks)
        say(f"by hand: {sum(account.by_hand.values()):.0f} s")
        with airflow_on(asked, folder / "killed", texts=folder / "whole" / "home" / cache.FOLDER) as airflow:
            through = _through_kills(airflow, asked, folder / "killed", account)
        account.through_kills = through.seconds
        account.odd["through kills"] = _odd(first.content, through.content)
    return account


def content(home: Path) -> dict[str, str]:
    """Digest by name of every finished step under a home, and of each release's files.

    Of an index, whose account names a collection of this home and how long it took, by what it holds and finds.
    """
    found = {}
    for path in sorted(home.rglob(STAMP)):
        if not any(part.startswith(".") for part in path.relative_to(home).parts):
            told = storage.read_json(path)["content"]
            with suppress(FileNotFoundError):
                account = storage.read_json(path.with_name("index.json"))
                told = storage.digest({name: account[name] for name in _HOLDS})
            found[str(path.parent.relative_to(home))] = told
    for path in sorted((home.parent / "models").rglob("release.json")):
        told = storage.read_json(path)
        digests = {model: stage["sha256"] for model, stage in told["stages"].items()}
        found[f"release {told['number']}"] = storage.digest(digests, told["score"], told["evidence"])
    return found


def _odd(wanted: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    return sorted(name for name in {*wanted, *found} if wanted.get(name) != found.get(name))


def environment(folder: Path) -> dict[str, str]:
    """What names a home in `folder`, and what is made there."""
    return {
        "LLMCF_HOME": str(folder / "home"),
        "LLMCF_TRITON_MODELS": str(folder / "models"),
        "LLMCF_RUNS": str(folder / "runs"),
        "LLMCF_DAG_PARAMETERS": str(folder / "own.json"),
        "LLMCF_DAG_RETRIES": "0",  # each waits a minute
    }


def _prepared(asked: Asked, folder: Path, texts: Path | None = None) -> dict[str, str]:
    """A home that knows the data set and has a pinned model, and the `texts` that another home's wrote; returns the
    environment that names it."""
    home, variables = folder / "home", environment(folder)
    home.mkdir(parents=True)
    (home / "models").symlink_to(settings.home() / "models")
    if texts:
        shutil.copytree(texts, home / texts.name)
    storage.write_json(folder / "own.json", dict(asked.parameters))
    for words in (
        ("data", "add", asked.dataset, "--source", asked.source),
        ("llm", "pin", "--dataset", asked.dataset, "--model", "base"),
    ):
        measured.run([_LLMCF, *words], environment=variables)
    (home / asked.dataset / "gates.toml").write_text(_GATES, encoding="utf-8")
    return variables


@contextmanager
def airflow_on(asked: Asked, folder: Path, *, silent: bool = False, texts: Path | None = None) -> Iterator[Airflow]:
    """One that runs on a home of its own, its DAGs on; with verbs that do nothing where it is `silent`."""
    variables = _prepared(asked, folder, texts)
    if silent:
        (folder / "bin").mkdir()
        (folder / "bin" / "llmcf").write_text(_SILENT, encoding="utf-8")
        (folder / "bin" / "llmcf").chmod(0o755)
        variables["PATH"] = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    with run_airflow(folder / "airflow", **variables) as running:
        for name in CHAIN:
            running.wait(f"{name} is not there", lambda name=name: running.unpaused(name), seconds=120)
        yield running


def take_day(airflow: Airflow, asked: Asked, folder: Path | None = None) -> Day:
    """Have the chain take the day once, to its end."""
    before = {name: _last(airflow, name, asked.day) for name in CHAIN}
    start = time.monotonic()
    airflow.trigger(CHAIN[0], asked.day)
    for name in CHAIN:
        done = lambda name=name: _ended(airflow, name, asked.day, before[name])  # noqa: E731
        airflow.wait(f"{name} has not ended", done, seconds=_WITHIN_S)
    seconds = round(time.monotonic() - start, 1)
    tasks = [one for name in CHAIN for one in _tasks(airflow, name, asked.day)]
    return Day(seconds, sorted(tasks, key=lambda one: one.began), content(folder / "home") if folder else {})


def _last(airflow: Airflow, dag: str, day: str) -> str:
    run = airflow.runs(dag).get(day)
    return run["dag_run_id"] if run else ""


def _ended(airflow: Airflow, dag: str, day: str, before: str, *, may_fail: bool = False) -> bool:
    """Whether the day's run after `before` has succeeded; raises AssertionError where it failed and must not."""
    run = airflow.runs(dag).get(day)
    if run is None or run["dag_run_id"] == before:
        return False
    assert may_fail or run["state"] != "failed", (dag, airflow.said(dag, run["dag_run_id"]))
    return run["state"] == "success"


def _tasks(airflow: Airflow, dag: str, day: str) -> Iterator[Task]:
    """Those of a run that ran a command."""
    for one in airflow.instances(dag, airflow.runs(dag)[day]["dag_run_id"]):
        told = one["rendered_fields"]
        if one["state"] == "success" and "bash_command" in told:
            began, ended = (datetime.fromisoformat(one[name]).timestamp() for name in ("start_date", "end_date"))
            name = f"{dag}.{one['task_id']}"
            yield Task(name, told["bash_command"], told["env"], began, round(ended - began, 2))


def _by_hand(asked: Asked, folder: Path, tasks: list[Task]) -> dict[str, float]:
    """Seconds of each task's command, run in a shell."""
    path = {"PATH": f"{Path(_LLMCF).parent}{os.pathsep}{os.environ['PATH']}"}
    variables, found = _prepared(asked, folder) | path, {}
    for one in tasks:
        spent = measured.run(["bash", "-c", one.command], environment={**variables, **one.environment})
        found[one.name] = round(spent.seconds, 2)
    return found


def _through_kills(airflow: Airflow, asked: Asked, folder: Path, account: Account) -> Day:
    """A day, killed so many times; what failed is cleared at once, as an operator would."""
    draw, start = random.Random(asked.seed), time.monotonic()
    airflow.trigger(CHAIN[0], asked.day)
    due = start + draw.uniform(3, 15)
    while not all(_ended(airflow, name, asked.day, "", may_fail=True) for name in CHAIN):
        assert time.monotonic() - start < _WITHIN_S, "the day does not end"
        if len(account.killed) < asked.kills and time.monotonic() >= due:
            target = draw.choice(TARGETS)
            if _kill(airflow, target):
                account.killed.append((round(time.monotonic() - start, 1), target))
                say(f"{account.killed[-1][0]:6.1f} s: {target} is killed")
            due = time.monotonic() + draw.uniform(3, 15)
        for name in CHAIN:
            with suppress(OSError):
                run = airflow.runs(name).get(asked.day)
                if run and run["state"] == "failed":
                    airflow.clear(name, asked.day)
                    account.cleared += 1
        time.sleep(1)
    return Day(round(time.monotonic() - start, 1), [], content(folder / "home"))


def _kill(airflow: Airflow, target: str) -> bool:
    """Whether there was one to kill; a scheduler is started again at once."""
    if target == "scheduler":
        airflow.kill("scheduler")
        airflow.start("scheduler")
        return True
    verbs, tasks = [], []
    for one in psutil.Process(airflow.parts["scheduler"].pid).children(recursive=True):
        with suppress(psutil.Error):
            if _LLMCF in one.cmdline():
                verbs.append(one)
                tasks += one.parents()[1:2]  # next above the shell
    found = verbs if target == "verb" else tasks
    for one in found[:1]:
        with suppress(psutil.Error):
            one.send_signal(signal.SIGKILL)
    return bool(found)


if __name__ == "__main__":
    main()
