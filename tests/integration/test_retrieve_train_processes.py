"""`retrieve train --processes 2`: real processes that share the batches reach the losses of one, and can be killed."""

import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import psutil
import pytest

from core import storage
from core.data import tables
from core.errors import UsageError
from core.settings import PROJECT, Workspace
from retrieval_stage.configs import RetrievalConfig
from retrieval_stage.recipes import resolve
from retrieval_stage.registry import MODELS
from retrieval_stage.runs import run_folder, unfinished
from retrieval_stage.trainer import train_as
from tests import in_memory

pytestmark = pytest.mark.integration
_PATIENCE_S = 120


@pytest.fixture(scope="module")
def ws(own: Workspace) -> Workspace:
    """A copy of the tiny workspace with a CoT set of random vectors."""
    rows, items = tables.training_rows(own), len(tables.items(own))
    in_memory.write_cot_set(own, in_memory.example_set(rows, items=items))
    return own


def config_of(name: str, framework: str, *, epochs: int = 2, learning_rate: float = 5e-3) -> RetrievalConfig:
    """A small run that draws nothing in the model: dropout is another in each process."""
    config = resolve(model=name, framework=framework, recipe="best", seed=1, epochs=epochs)
    still = replace(config.backbone, dropout=0.0)
    return replace(config, backbone=still, batch=16, width=16, learning_rate=learning_rate)


def losses(ws: Workspace, config: RetrievalConfig, processes: int) -> list[tuple[float, float]]:
    shutil.rmtree(run_folder(ws, config), ignore_errors=True)
    train_as(ws, config, processes=processes)
    log = storage.read_json(run_folder(ws, config) / "losses.json")
    return [(epoch["loss"], epoch["valid"]["hit@10"]) for epoch in log]


@pytest.mark.parametrize(("name", "framework"), [*((name, "none") for name in MODELS), ("sasrec", "llm-cf")])
def test_two_processes_train_as_one_does(ws: Workspace, name: str, framework: str) -> None:
    config = config_of(name, framework)
    (one, hit), (again, _) = losses(ws, config, 1)
    (two, shared_hit), (shared_again, _) = losses(ws, config, 2)
    assert two == pytest.approx(one, rel=1e-3)
    assert shared_again == pytest.approx(again, rel=5e-3), "after an epoch of averaged gradients"
    assert shared_hit == pytest.approx(hit, abs=0.1)


def test_a_loss_that_is_not_a_number_is_told_as_by_one_process(ws: Workspace) -> None:
    config = config_of("sasrec", "none", learning_rate=1e30)
    shutil.rmtree(run_folder(ws, config), ignore_errors=True)
    with pytest.raises(UsageError, match=r"the training loss is (nan|inf)"):
        train_as(ws, config, processes=2)
    assert not run_folder(ws, config).exists()


def killed_config() -> RetrievalConfig:
    """With all that processes share: prefixes and examples. One process alone is killed
    with every backbone in tests/unit/retrieval_stage/test_loop.py."""
    return config_of("srgnn", "llm-cf", epochs=12)


def test_a_killed_run_leaves_no_process_and_ends_as_one_that_was_not(ws: Workspace) -> None:
    config = killed_config()
    whole = losses(ws, config, 2)
    shutil.rmtree(run_folder(ws, config))
    scratch = unfinished(ws, config)
    begun = subprocess.Popen([sys.executable, "-m", "tests.integration.test_retrieve_train_processes"], cwd=PROJECT)
    end = time.monotonic() + _PATIENCE_S
    while len(list(scratch.glob("*.safetensors"))) < 4:
        assert begun.poll() is None
        assert time.monotonic() < end
        time.sleep(0.01)
    children = psutil.Process(begun.pid).children(recursive=True)
    begun.send_signal(signal.SIGKILL)
    begun.wait()
    psutil.wait_procs(children, timeout=10)
    assert not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children)
    assert not run_folder(ws, config).exists()
    train_as(ws, config, processes=2)
    log = storage.read_json(run_folder(ws, config) / "losses.json")
    assert [(epoch["loss"], epoch["valid"]["hit@10"]) for epoch in log] == whole
    assert not scratch.exists()


if __name__ == "__main__":
    train_as(Workspace("movielens-100k", "shuffled-ties"), killed_config(), processes=2)
