"""Running the DAGs locally: an Airflow home under LLMCF_HOME, SQLite, no examples, no usage data sent."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from core import settings
from core.errors import LlmcfError
from core.result import Result
from core.settings import PROJECT, Workspace

DAG = "llmcf_daily"


def environment() -> dict[str, str]:
    """The process environment of a local Airflow; `llmcf` is found on its PATH."""
    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "AIRFLOW_HOME": str(settings.home() / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "NO_COLOR": "1",
    }


def test(ws: Workspace) -> Result:
    """Run the daily DAG once with `airflow dags test`, in this workspace.

    Raises:
        LlmcfError: if a task fails; names the log and its last lines.
    """
    start = time.monotonic()
    home = settings.home() / "airflow"
    home.mkdir(parents=True, exist_ok=True)
    if not (home / "airflow.db").exists():
        _airflow("db", "migrate", log=home / "migrate.log")
    log = home / f"{DAG}.log"
    conf = {"dataset": ws.dataset, "order": ws.order, "as_of": ws.as_of}
    _airflow("dags", "test", DAG, "--conf", json.dumps(conf), log=log)
    text = log.read_text(encoding="utf-8", errors="replace")
    done = sum("new_state=success" in line and "Task instance state updated" in line for line in text.splitlines())
    return Result(
        verb="dag test",
        workspace=ws,
        seconds=time.monotonic() - start,
        artifacts={"log": str(log)},
        details={"dag": DAG, "state": "success", "tasks": done},
    )


def _airflow(*arguments: str, log: Path) -> None:
    command = [str(Path(sys.executable).with_name("airflow")), *arguments]
    with log.open("w", encoding="utf-8") as stream:
        code = subprocess.run(
            command, env=environment(), stdout=stream, stderr=subprocess.STDOUT, check=False
        ).returncode
    if code != 0:
        tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])
        raise LlmcfError(f"`airflow {' '.join(arguments[:2])}` failed with exit code {code}; its log is {log}:\n{tail}")
