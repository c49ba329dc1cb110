"""The losses of the first 20 steps are what they were.

After a wanted change, `python -m tests.golden.test_ranking_losses` writes them anew.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from core.settings import Workspace
from ranking.loop import seed_everything, train_step
from ranking.recipes import DeepFmConfig, resolve
from ranking.registry import build
from tests import in_memory

GOLDEN = Path(__file__).with_name("ranking_losses.json")
RUNS = [("none", "strict"), ("none", "best"), ("llm-cf", "strict"), ("llm-cf", "paper"), ("llm-cf", "best")]
STEPS, BATCH = 20, 32


@pytest.fixture(autouse=True)
def torch_as_it_was() -> Iterator[None]:
    yield
    torch.use_deterministic_algorithms(False)


def losses(framework: str, recipe: str) -> list[float]:
    named = resolve(
        Workspace("movielens-100k", "shuffled-ties"), model="deepfm", framework=framework, recipe=recipe, seed=1
    )
    config = replace(named, width=8, backbone=DeepFmConfig(tower=(16, 8)))
    seed_everything(config.seed)
    batches, shape = in_memory.batches(framework=framework, recipe=recipe)
    batches = replace(batches, id_dropout=config.id_dropout)
    model = build(config, shape)
    if model.dense is not None:
        model.dense.fit(batches.rows.dense_NJ)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, weight_decay=1e-4, fused=True)
    order = torch.randperm(len(batches.rows.label_N)).repeat(4).split(BATCH)
    return [train_step(model, optimizer, batches(at_B, training=True)) for at_B in order[:STEPS]]


@pytest.mark.parametrize(("framework", "recipe"), RUNS)
def test_losses_are_golden(framework: str, recipe: str) -> None:
    golden = json.loads(GOLDEN.read_text())[f"{framework} {recipe}"]
    assert losses(framework, recipe) == pytest.approx(golden, rel=1e-4)


def test_the_same_seed_gives_the_same_losses_bit_for_bit() -> None:
    assert losses("llm-cf", "best") == losses("llm-cf", "best")


def test_losses_go_down() -> None:
    for curve in json.loads(GOLDEN.read_text()).values():
        assert sum(curve[-5:]) < sum(curve[:5])


if __name__ == "__main__":
    curves = {f"{framework} {recipe}": losses(framework, recipe) for framework, recipe in RUNS}
    GOLDEN.write_text(json.dumps(curves, indent=1) + "\n")
