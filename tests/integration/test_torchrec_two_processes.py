"""Every backbone trained by two processes through DistributedModelParallel reaches the losses of one."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from core.settings import PROJECT, Workspace
from ranking.configs import RankerConfig
from ranking.loop import train_step
from ranking.ranker import Ranker, build
from ranking.recipes import resolve
from ranking.registry import MODELS
from tests import in_memory

pytestmark = pytest.mark.integration
STEPS, BATCH = 5, 32
RATE = 1.0  # plain SGD: unlike Adam it would show gradients that are summed and not averaged


def model_and_batches(name: str) -> tuple[Ranker, RankerConfig, in_memory.BatchBuilder, list[torch.Tensor]]:
    """A seeded model without dropout, its configuration, and the row numbers of its batches."""
    named = resolve(Workspace("movielens-100k", "shuffled-ties"), model=name, framework="none", recipe="strict", seed=1)
    config = replace(named, width=8, backbone=replace(named.backbone, tower=(16, 8), dropout=0.0))
    torch.manual_seed(config.seed)
    batches, shape = in_memory.batches(model=name)
    order = torch.randperm(len(batches.rows.label_N))
    return build(config, shape), config, batches, list(order[: STEPS * BATCH].split(BATCH))


def losses_of_one(name: str) -> list[float]:
    model, _, batches, order = model_and_batches(name)
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
    return [train_step(model, optimizer, batches(at_B, training=True)) for at_B in order]


def worker(out: Path) -> None:
    """One of the processes: its share of each batch, and the mean loss of all."""
    from torch import distributed

    from ranking.distributed import Group

    group = Group.join()
    losses: dict[str, list[float]] = {name: [] for name in MODELS}
    for name in MODELS:
        model, config, batches, order = model_and_batches(name)
        sharded = group.distribute(model, config)
        optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
        for at_B in order:
            batch = group.to_device(batches(group.shard(at_B), training=True))
            losses[name].append(group.mean(train_step(sharded, optimizer, batch)))
    if group.rank == 0:
        out.write_text(json.dumps(losses))
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def losses_of_two(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[float]]:
    tmp_path = tmp_path_factory.mktemp("two")
    out = tmp_path / "losses.json"
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2",
        "-m", "tests.integration.test_torchrec_two_processes", str(out),
    ]  # fmt: skip
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(out.read_text())


@pytest.mark.parametrize("name", MODELS)
def test_two_processes_reach_the_losses_of_one(name: str, losses_of_two: dict[str, list[float]]) -> None:
    assert losses_of_two[name] == pytest.approx(losses_of_one(name), rel=1e-4)


if __name__ == "__main__":
    worker(Path(sys.argv[1]))
