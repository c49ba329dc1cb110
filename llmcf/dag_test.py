"""Running the DAGs locally: an Airflow home under LLMCF_HOME, SQLite."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

from core import settings
from core.errors import LlmcfError, UsageError
from core.result import Result
from core.settings import PROJECT, Workspace

CHAIN = ("materialize_features", "train_recgen", "refresh_cot_index", "train_ranking", "train_retrieval", "release")
SMALL = {  # the demo's sizes, which a CPU makes in minutes; the DAGs' own defaults are for production
    "recgen_rows": 32,
    "llm": "recgen",
    "train_recgen": "always",
    "engine": "openvino",
    "cot_limit": 1000,
    "recipe": "strict",
    "release_check": "never",  # a few texts less are worse than what the demo released
}
_AIRFLOW = str(Path(sys.executable).with_name("airflow"))
_EACH = """
import sys
from core import memory
memory.collect_rarely()
from airflow.cli.cli_parser import get_parser
from airflow.utils.cli import get_bagged_dag
conf, *dags = sys.argv[1:]
for name in dags:  # in one process: Airflow takes ten seconds to import
    dag = get_bagged_dag(bundle_names=None, dag_id=name)
    dag.deadline = None  # at the end of a run, Airflow 3.3.2's test asks for deadlines that only its scheduler stores
    arguments = get_parser().parse_args(["dags", "test", name, "--conf", conf])
    arguments.func(arguments, dag=dag)
"""
_RUNNING = re.compile(r"running task <TaskInstance: \w+\.(\w+) ")
_OUTPUT = re.compile(r"^\S+ \[\w+ *\] (.*?) +\[[\w.]*SubprocessHook\]")
_ENDED = re.compile(r"Command exited with return code (\d+)")
_FINE = {"0", "99"}  # done, skipped


def environment() -> dict[str, str]:
    """The process environment of a local Airflow; `llmcf` is found on its PATH.

    SQLite has one writer. Airflow's parts wait for each other for its usual five seconds and then fail, the API with
    500; on a busy machine that is too short.
    """
    return {
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": "sqlite:///${AIRFLOW_HOME}/airflow.db?timeout=60",  # Airflow expands it
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "AIRFLOW_HOME": str(settings.home() / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT / "dags"),
        **shared_settings(),
        "LLMCF_DAG_RETRIES": "0",
        "NO_COLOR": "1",
    }


def shared_settings() -> dict[str, str]:
    """The variables that every Airflow with these DAGs is told, on whatever executor: dags/airflow.env."""
    lines = (PROJECT / "dags" / "airflow.env").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def test(ws: Workspace, *, seed: int) -> Result:
    """Run the DAGs of a day, one after the other as their assets tie them, in this workspace with the demo's sizes.

    Raises:
        UsageError: if Airflow cannot keep its files under LLMCF_HOME.
        LlmcfError: if a task fails; names it, what it said, and the log.
    """
    start = time.monotonic()
    home = settings.home() / "airflow"
    if odd := set(str(home)) & set("%?"):
        raise UsageError(
            f"Airflow takes no folder with {' or '.join(sorted(odd))} in its name; LLMCF_HOME is {home.parent}"
        )
    home.mkdir(parents=True, exist_ok=True)
    migrated, ours = home / "migrated", version("apache-airflow")
    if not migrated.is_file() or migrated.read_text(encoding="utf-8") != ours:
        _airflow("db migrate", [_AIRFLOW, "db", "migrate"], log=home / "migrate.log")  # may be repeated
        migrated.write_text(ours, encoding="utf-8")
    log = home / "dags.log"
    conf = {**SMALL, "dataset": ws.dataset, "order": ws.order, "as_of": ws.as_of, "seed": seed}
    _airflow("dags test", [sys.executable, "-c", _EACH, json.dumps(conf), *CHAIN], log=log)
    text = log.read_text(encoding="utf-8", errors="replace")
    done = sum("new_state=success" in line and "Task instance state updated" in line for line in text.splitlines())
    return Result(
        verb="dag test",
        workspace=ws,
        seconds=time.monotonic() - start,
        artifacts={"log": str(log)},
        details={"dags": list(CHAIN), "state": "success", "tasks": done},
    )


def _airflow(name: str, command: list[str], *, log: Path) -> None:
    with log.open("w", encoding="utf-8") as stream:
        code = subprocess.run(
            command, env=environment(), stdout=stream, stderr=subprocess.STDOUT, check=False
        ).returncode
    if code != 0:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        shown = f"`airflow {name}` failed"
        if said := cause(lines):
            raise LlmcfError(f"{shown}: {said}; its log is {log}")
        raise LlmcfError("\n".join([f"{shown} with exit code {code}; its log is {log}:", *lines[-15:]]))


def cause(lines: Iterable[str]) -> str | None:
    """The task of a log that failed first, and the last line in which its verb complained; None if no verb failed."""
    task, said = "", [""]
    for line in lines:
        if running := _RUNNING.search(line):
            task, said = running[1], [""]
        elif output := _OUTPUT.match(line):
            ended = _ENDED.match(output[1])
            if ended and ended[1] not in _FINE:
                errors = [text for text in said if text.startswith("llmcf: ")]
                return f"{task} says {(errors or said)[-1]!r}"
            said.append(output[1])
    return None
