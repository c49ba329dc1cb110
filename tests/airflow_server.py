"""A real Airflow for a test: API server, scheduler, processor of DAGs and triggerer over SQLite, and how to ask it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmcf import dag_test

PARTS = ("api-server", "scheduler", "dag-processor", "triggerer")
TOGETHER = ("standalone",)  # all of them, as one machine has them
_AIRFLOW = str(Path(sys.executable).with_name("airflow"))
_READY_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Airflow:
    """One that runs."""

    home: Path
    address: str
    environment: Mapping[str, str]
    parts: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, part: str) -> None:
        with (self.home / f"{part}.log").open("ab") as log:
            self.parts[part] = subprocess.Popen(
                [_AIRFLOW, part], env=self.environment, stdout=log, stderr=log, start_new_session=True
            )

    def kill(self, part: str) -> None:
        """End a part and all that it started, but for the commands of tasks, at once."""
        process = self.parts.pop(part)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def command(self, *words: str) -> str:
        """What `airflow ...` prints; raises AssertionError with its words if it fails."""
        done = subprocess.run([_AIRFLOW, *words], env=self.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
        return done.stdout

    def health(self) -> dict[str, str | None]:
        """The state of each part that Airflow knows of."""
        with urllib.request.urlopen(f"{self.address}/api/v2/monitor/health", timeout=30) as answer:
            return {part: told["status"] for part, told in json.loads(answer.read()).items()}

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The answer of the public API."""
        headers = {"content-type": "application/json", "authorization": f"Bearer {self._token()}"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.address}/api/v2/{path}", data, headers, method=method)
        with urllib.request.urlopen(request, timeout=90) as answer:  # longer than it waits for its database
            text = answer.read()
        return json.loads(text) if text else None

    def _token(self) -> str:
        with urllib.request.urlopen(f"{self.address}/auth/token", timeout=30) as answer:
            return json.loads(answer.read())["access_token"]

    def runs(self, dag: str) -> dict[str | None, dict[str, Any]]:
        """The runs of a DAG by partition; of runs without one, the newest."""
        found = self.ask("GET", f"dags/{dag}/dagRuns?limit=1000")["dag_runs"]
        return {one["partition_key"]: one for one in found}

    def trigger(self, dag: str, partition: str | None) -> None:
        self.ask("POST", f"dags/{dag}/dagRuns", {"logical_date": None, "partition_key": partition, "conf": {}})

    def clear(self, dag: str, partition: str) -> None:
        """Have the failed tasks of a run, and what comes after them, run again."""
        run = self.runs(dag)[partition]["dag_run_id"]
        told = {"dry_run": False, "dag_run_id": run, "only_failed": True, "reset_dag_runs": True}
        self.ask("POST", f"dags/{dag}/clearTaskInstances", told)

    def unpaused(self, dag: str) -> bool:
        """Let a DAG run; whether it does, which takes until Airflow has read its file."""
        try:
            return not self.ask("PATCH", f"dags/{dag}", {"is_paused": False})["is_paused"]
        except urllib.error.HTTPError:
            return False

    def tasks(self, dag: str, run: str) -> dict[str, str]:
        """The state of each task."""
        return {one["task_id"]: one["state"] for one in self.instances(dag, run)}

    def said(self, dag: str, run: str) -> str:
        """What the failed tasks of a run printed last."""
        failed = [task for task, state in self.tasks(dag, run).items() if state == "failed"]
        logs = self.home / "logs" / f"dag_id={dag}" / f"run_id={run}"
        lines = [
            f"{task}: {json.loads(line).get('event')}"
            for task in failed
            for log in sorted((logs / f"task_id={task}").glob("*.log"))
            for line in log.read_text(encoding="utf-8").splitlines()[-40:]
        ]
        return "\n".join(lines)

    def instances(self, dag: str, run: str) -> list[dict[str, Any]]:
        """All that is known of each task of a run."""
        place = f"dags/{dag}/dagRuns/{urllib.parse.quote(run, safe='')}/taskInstances?limit=1000"
        return self.ask("GET", place)["task_instances"]

    def wait(self, what: str, done: Callable[[], bool], *, seconds: float) -> None:
        """Until it is done; raises AssertionError after so long."""
        end = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < end, f"{what} after {seconds:.0f} s; the logs are in {self.home}"
            time.sleep(0.5)


@contextmanager
def run_airflow(home: Path, parts: Sequence[str] = PARTS, **variables: str) -> Iterator[Airflow]:
    """Start all parts, or `TOGETHER`, in a home of their own and end them; `variables` are of their environment."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    environment = {
        **dag_test.environment(),
        "AIRFLOW_HOME": str(home),
        "PYTHONPATH": os.pathsep.join([dag_test.environment()["AIRFLOW__CORE__DAGS_FOLDER"], *_own_path()]),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{address}/execution/",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__CORE__PARALLELISM": "4",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API__BASE_URL": address,
        "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
        "AIRFLOW__SCHEDULER__JOB_HEARTBEAT_SEC": "2",  # a scheduler that died is missed in seconds, not in minutes
        "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "10",
        "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "4",
        **variables,
    }
    made = Airflow(home=home, address=address, environment=environment)
    home.mkdir(parents=True, exist_ok=True)
    made.command("db", "migrate")
    made.command("pools", "import", str(Path(environment["AIRFLOW__CORE__DAGS_FOLDER"]) / "pools.json"))
    try:
        for part in parts:
            made.start(part)
        made.wait("Airflow does not answer", lambda: _answers(made), seconds=_READY_S)
        yield made
    finally:
        for process in made.parts.values():
            _end(process)


def _own_path() -> list[str]:
    return [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]


def _answers(made: Airflow) -> bool:
    try:
        return bool(made.ask("GET", "dags?limit=100")["dags"])
    except (OSError, urllib.error.URLError, KeyError, ValueError):
        return False


def _end(process: subprocess.Popen[bytes]) -> None:
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(timeout=30)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
