"""The losses of the first steps of the real loop are what they were: its windows, batches, optimiser and falling rate.

After a wanted change, `python -m tests.golden.test_retrieval_losses` writes them anew.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from unittest.mock import patch

import pytest
import torch

from core.contracts import FIRST_ID
from ict.examples import Requests
from ict.neighbours import NeighbourConfig, Neighbours, search_exact
from ict.seeding import seed_everything
from retrieval_stage import loop
from retrieval_stage.configs import RetrievalConfig
from retrieval_stage.recipes import resolve
from retrieval_stage.registry import MODELS
from retrieval_stage.sequences import Sequences
from retrieval_stage.user_tower import UserTower
from tests import in_memory

Run = tuple[str, str, str, str]  # model, framework, recipe, variant
GOLDEN = Path(__file__).with_name("retrieval_losses.json")
EVERY = [("none", "strict"), ("none", "paper"), ("llm-cf", "strict"), ("llm-cf", "paper"), ("llm-cf", "best")]
RUNS: list[Run] = [(model, *run, "") for model in MODELS for run in EVERY]
RUNS += [("sasrec", "none", "best", ""), ("youtubednn", "llm-cf", "strict", "code")]
USERS, ITEMS = 12, 40
STEPS, EPOCHS, BATCH = 20, 7, 8  # three batches an epoch
FASTER = 4  # times the recipe's rate: in twenty steps a change of rate, decay or batches then shows
FIRST = 6  # steps in which all processors agree


@pytest.fixture(autouse=True)
def torch_as_it_was() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)


def config_of(run: Run) -> RetrievalConfig:
    """The named run, but for sizes and the rate. It has all epochs: which is best may depend on the processor."""
    model, framework, recipe, variant = run
    config = resolve(model=model, framework=framework, recipe=recipe, seed=1, variant=variant)
    sizes = {"width": 16, "batch": BATCH, "epochs": EPOCHS, "patience": EPOCHS, "refresh": 2}
    return replace(config, **sizes, learning_rate=FASTER * config.learning_rate)


def losses(run: Run) -> list[float]:
    """Those of every step of `loop.fit`."""
    torch.set_num_threads(1)  # tiny tensors
    config = config_of(run)
    rows = in_memory.training_rows(users=USERS, items=ITEMS, length=30)
    sequences, examples = Sequences.of(rows), in_memory.example_set(rows, items=ITEMS)
    how = NeighbourConfig.of(config.in_context, stage="retrieval", recipe=config.recipe, seed=config.seed)
    found = search_exact(examples, Requests.of(rows), how)
    seed_everything(config.seed)
    tower = UserTower(
        config,
        known_U=torch.ones(USERS + FIRST_ID, dtype=torch.bool),
        items=ITEMS + FIRST_ID,
        examples=examples if config.uses_examples else None,
        facts=in_memory.item_facts(items=ITEMS),
    )
    curve: list[float] = []

    def recorded(*step: object) -> float:
        curve.append(train_step(*step))  # pyright: ignore[reportArgumentType]
        return curve[-1]

    train_step = loop.train_step
    with patch.object(loop, "train_step", recorded):
        loop.fit(tower, sequences, Neighbours(*(values[sequences.row_N] for values in found)))
    return curve[:STEPS]


once = cache(losses)


def name_of(run: Run) -> str:
    return " ".join(filter(None, run))


@pytest.mark.parametrize("run", RUNS, ids=name_of)
def test_losses_are_golden(run: Run) -> None:
    golden, found = json.loads(GOLDEN.read_text())[name_of(run)], once(run)
    assert found[:FIRST] == pytest.approx(golden[:FIRST], rel=1e-4)
    assert found == pytest.approx(golden, rel=5e-3), "what processors differ in grows from step to step"


@pytest.mark.parametrize("model", MODELS)
def test_the_same_seed_gives_the_same_losses_bit_for_bit(model: str) -> None:
    run = (model, "llm-cf", "best", "")
    assert losses(run) == once(run)


def test_losses_go_down() -> None:
    curves = json.loads(GOLDEN.read_text())
    assert set(curves) == set(map(name_of, RUNS))
    for name, curve in curves.items():
        assert len(curve) == STEPS
        assert sum(curve[-5:]) < sum(curve[:5]), name


if __name__ == "__main__":
    curves = {name_of(run): losses(run) for run in RUNS}
    GOLDEN.write_text(json.dumps(curves, indent=1) + "\n")
