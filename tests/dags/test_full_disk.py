"""A disk that fills under a day's DAG: a real file system that is too small, the real verbs, a real Airflow."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from core.settings import PROJECT

SIZES = ("48k", "200k", "64m")  # what the tables need, what Feast's registry and store need, enough
OWN_FILES = ["unshare", "--user", "--map-root-user", "--mount"]
SCRIPT = """
set -e
mkdir -p "$LLMCF_HOME/shop"
mount -t tmpfs none "$LLMCF_HOME/shop"
llmcf data add shop --source "$SHOP"
for size in "$@"; do
    mount -o "remount,size=$size" "$LLMCF_HOME/shop"
    python -c "$DAY" || true
    cp "$LLMCF_HOME/airflow/dags.log" "$LLMCF_HOME/$size.log"
    (cd "$LLMCF_HOME" && find shop -mindepth 3 -maxdepth 4 | sort > "$LLMCF_HOME/$size.files")
done
"""
DAY = """
from core.errors import LlmcfError
from core.settings import Workspace
from llmcf import dag_test
dag_test.CHAIN = ("materialize_features",)
try:
    print("ended:", dag_test.test(Workspace("shop", "shuffled-ties", "2026-07-01"), seed=1).details["state"])
except LlmcfError as error:
    print("ended:", str(error).splitlines()[0])
"""


@dataclass(frozen=True, slots=True)
class Try:
    """How a day ended with so much space."""

    ended: str
    log: str
    files: list[str]

    @property
    def alerts(self) -> int:
        return sum("alert run-failed:" in line for line in self.log.splitlines())


@pytest.fixture(scope="module")
def tries(tmp_path_factory: pytest.TempPathFactory) -> list[Try]:
    """The same day on a disk that is too small, is a bit larger and then large enough."""
    if subprocess.run([*OWN_FILES, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody mount a file system of one's own")
    home = tmp_path_factory.mktemp("full") / "home"
    variables = {
        **os.environ,
        "LLMCF_HOME": str(home),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(PROJECT),
        "SHOP": str(PROJECT / "examples" / "shop"),
        "DAY": DAY,
    }
    command = [*OWN_FILES, "bash", "-c", SCRIPT, "bash", *SIZES]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr
    ends = [line for line in done.stdout.splitlines() if line.startswith("ended: ")]
    files = [(home / f"{size}.files").read_text().split() for size in SIZES]
    return [
        Try(end, (home / f"{size}.log").read_text(), some) for end, size, some in zip(ends, SIZES, files, strict=True)
    ]


@pytest.mark.parametrize(
    ("number", "task", "made"), [(0, "data_prepare", set()), (1, "features_", {"data", "features"})]
)
def test_the_task_fails_with_what_the_verb_says_nothing_goes_on_and_it_is_told_once(
    tries: list[Try], number: int, task: str, made: set[str]
) -> None:
    one = tries[number]
    assert f"failed: {task}" in one.ended
    assert "says 'llmcf: no space left on the disk" in one.ended.replace('"', "'")
    assert one.alerts == 1
    assert "training" not in {Path(name).name for name in one.files}
    assert {Path(name).name for name in one.files if name.count("/") == 3} >= made
    assert not [name for name in one.files if ".tmp" in name], "nothing half-written stays"


def test_with_room_it_completes(tries: list[Try]) -> None:
    assert tries[-1].ended == "ended: success"
    assert tries[-1].alerts == 0
    assert "shop/shuffled-ties/2026-07-01/training" in tries[-1].files
