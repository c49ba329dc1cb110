"""`rank train --processes 2`: real processes that share the tables end as one does, fail clearly, and can be killed."""

import shutil
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest

from core import storage
from core.data import tables
from core.errors import UsageError
from core.settings import PROJECT, Workspace
from ranking import loop, weights
from ranking.configs import RankerConfig
from ranking.inputs import load
from ranking.ranker import build
from ranking.recipes import resolve
from ranking.runs import run_folder
from ranking.trainer import join, train_as
from tests import in_memory

pytestmark = pytest.mark.integration
_PATIENCE_S = 120


@pytest.fixture(scope="module")
def ws(own: Workspace) -> Workspace:
    """A copy of the tiny workspace with a CoT set of random vectors."""
    rows, items = tables.training_rows(own), len(tables.items(own))
    in_memory.write_cot_set(own, in_memory.example_set(rows, items=items))
    return own


def config_of(ws: Workspace, *, seed: int, framework: str = "none", **changes: Any) -> RankerConfig:
    """A small run in which nothing is drawn but the first weights and the order of the rows."""
    config = resolve(ws, model="deepfm", framework=framework, recipe="strict", seed=seed, epochs=3)
    still = {"id_dropout": 0.0, "backbone": replace(config.backbone, dropout=0.0), "batch": 64}
    return replace(config, **still | changes)


def account_of(ws: Workspace, config: RankerConfig) -> tuple[list[float], list[float]]:
    """A finished run's losses by step and validation AUCs by epoch."""
    losses = storage.read_json(run_folder(ws, config) / "losses.json")
    return losses["steps"], [line["valid_auc"] for line in losses["epochs"]]


@pytest.mark.parametrize("changes", [{}, {"sparse_rows_from": 1}])
def test_two_processes_train_as_one_does(ws: Workspace, changes: dict[str, Any]) -> None:
    config = config_of(ws, seed=1, **changes)
    shutil.rmtree(run_folder(ws, config), ignore_errors=True)
    one = train_as(ws, config)
    losses, aucs = account_of(ws, config)
    shutil.rmtree(run_folder(ws, config))
    two = train_as(ws, config, processes=2)
    assert (one.details["processes"], two.details["processes"]) == (1, 2)
    assert two.details["parameters"] == one.details["parameters"]
    shared_losses, shared_aucs = account_of(ws, config)
    assert len(shared_losses) == len(losses)
    assert shared_losses[:10] == pytest.approx(losses[:10], rel=1e-4)
    assert shared_aucs == pytest.approx(aucs, abs=5e-3)


def test_two_machines_train_together(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two torchrun agents on loopback, a process each: what two machines with a shared home do."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("LLMCF_RENDEZVOUS", f"127.0.0.1:{free.getsockname()[1]}")
    config = config_of(ws, seed=5, epochs=1)
    with ThreadPoolExecutor(2) as pool:
        led = pool.submit(train_as, ws, config, processes=1, nodes=2)
        joined = pool.submit(join, ws, config, processes=1, nodes=2)
        assert led.result().details["processes"] == 2
        assert joined.result().seconds > 0
    assert run_folder(ws, config).exists()


@pytest.mark.parametrize("framework", ["none", "llm-cf"])
def test_the_weights_of_two_processes_score_alone_as_they_did_together(ws: Workspace, framework: str) -> None:
    config = config_of(ws, seed=2, framework=framework, epochs=1)
    train_as(ws, config, processes=2)
    batches, shape = load(ws, config)
    ranker = build(config, shape)
    ranker.load_state_dict(weights.read(run_folder(ws, config) / weights.FILE, weights.origin(ws, config)))
    of_valid = pq.read_table(run_folder(ws, config) / "scores.parquet", filters=[("split", "=", "valid")])
    alone = loop.predict(ranker, batches, batches.rows.of_split("valid"))
    np.testing.assert_allclose(of_valid["score"].to_numpy(), alone, atol=1e-5)


def test_a_loss_that_is_not_a_number_is_told_as_by_one_process(ws: Workspace) -> None:
    config = config_of(ws, seed=3, learning_rate=1e30)
    with pytest.raises(UsageError, match=r"the training loss is (nan|inf)"):
        train_as(ws, config, processes=2)
    assert not run_folder(ws, config).exists()


@pytest.mark.parametrize("least", [0, 1])
def test_a_killed_run_leaves_no_process_and_goes_on_where_it_was(ws: Workspace, least: int) -> None:
    config = config_of(ws, seed=4, epochs=20, patience=20, sparse_rows_from=least)
    shutil.rmtree(run_folder(ws, config), ignore_errors=True)
    unfinished = ws.path("ranking", ".unfinished", config.name)
    command = [sys.executable, "-m", "tests.integration.test_rank_train_processes", str(least)]
    begun = subprocess.Popen(command, cwd=PROJECT)
    end = time.monotonic() + _PATIENCE_S
    while len(list(unfinished.glob("*.safetensors"))) < 4:
        assert begun.poll() is None
        assert time.monotonic() < end
        time.sleep(0.01)
    children = psutil.Process(begun.pid).children(recursive=True)
    assert len(children) >= 3  # torchrun, two workers
    begun.send_signal(signal.SIGKILL)
    begun.wait()
    psutil.wait_procs(children, timeout=10)
    assert not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children)
    assert not run_folder(ws, config).exists()

    resumed = train_as(ws, config, processes=2)
    account = account_of(ws, config)
    assert not unfinished.exists()
    shutil.rmtree(run_folder(ws, config))
    whole = train_as(ws, config, processes=2)
    assert account_of(ws, config) == account
    assert resumed.metrics == whole.metrics


if __name__ == "__main__":
    place = Workspace("movielens-100k", "shuffled-ties")
    least = int(sys.argv[1])
    train_as(place, config_of(place, seed=4, epochs=20, patience=20, sparse_rows_from=least), processes=2)
