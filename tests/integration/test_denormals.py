"""Every process that trains or scores takes denormal numbers for zero in all of its threads, by whatever way it came.

Each way is gone in a process of its own whose threads have been started before, as anything may do.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from core.data import tables
from core.settings import PROJECT, Workspace
from ranking import trainer
from ranking.recipes import resolve
from tests import denormals, in_memory

pytestmark = pytest.mark.integration
_OPENING = """
import json, sys
from core.settings import Workspace
from tests import denormals
ws = Workspace("movielens-100k", "shuffled-ties")
"""
_WAYS = {
    "backfill": """
from llmcf.backfill.workers import _run
denormals.start_pool()
_run(print, None, 1)
""",
    "rank train": """
from ranking.trainer import train
denormals.start_pool()
train(ws, model="deepfm", framework="llm-cf", recipe="strict", seed=31, epochs=1)
""",
    "retrieve train": """
from retrieval_stage.trainer import train
denormals.start_pool()
train(ws, model="sasrec", framework="llm-cf", recipe="strict", seed=31, epochs=1)
""",
    "neighbours alone": """
from ict.neighbours import NeighbourConfig, prepare
denormals.start_pool()
prepare(ws, NeighbourConfig(stage="ranking", recipe="strict", seed=1, count=2))
""",
    "recgen train": """
from llm.recgen import worker
denormals.start_pool()
worker.run = lambda job: None
sys.argv = ["worker", sys.argv[1]]
worker.main()
""",
}


@pytest.fixture(scope="module")
def ws(own: Workspace) -> Workspace:
    """A copy of the tiny workspace with a CoT set of random vectors."""
    rows, items = tables.training_rows(own), len(tables.items(own))
    in_memory.write_cot_set(own, in_memory.example_set(rows, items=items))
    return own


@pytest.mark.parametrize("way", _WAYS)
def test_no_thread_keeps_denormals(way: str, ws: Workspace, tmp_path: Path) -> None:
    job = tmp_path / "job.json"
    job.write_text("{}")
    code = f"{_OPENING}{_WAYS[way]}print(json.dumps(denormals.left()))"
    command = [sys.executable, "-c", code, str(job)]
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    assert set(json.loads(done.stdout.splitlines()[-1]).values()) == {0}


def test_no_thread_of_several_processes_does(ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "_WORKER", "tests.denormals")
    monkeypatch.setenv(denormals.REPORT, str(tmp_path))
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    config = resolve(ws, model="deepfm", framework="llm-cf", recipe="strict", seed=32, epochs=1)
    trainer.train_as(ws, config, processes=2)
    for rank in range(2):
        report = json.loads((tmp_path / f"{rank}.json").read_text())
        assert report["threads"] == 2
        assert set(report["left"].values()) == {0}
