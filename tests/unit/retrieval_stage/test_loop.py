"""A training run that is killed at any step and started again ends as one that never was, whatever its backbone."""

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from core.contracts import FIRST_ID
from ict.examples import Requests
from ict.neighbours import NeighbourConfig, Neighbours, search_exact
from ict.resume import Checkpoint
from ict.seeding import seed_everything
from retrieval_stage import loop
from retrieval_stage.configs import RetrievalConfig
from retrieval_stage.recipes import resolve
from retrieval_stage.sequences import Sequences
from retrieval_stage.user_tower import UserTower
from tests import in_memory

USERS, ITEMS = 12, 40
KILLED = [(model, step) for model in ("sasrec", "srgnn") for step in (1, 5, 9)] + [("gru4rec", 5), ("youtubednn", 5)]
Fitted = tuple[list[dict[str, Any]], dict[str, torch.Tensor]]


def config_of(model: str) -> RetrievalConfig:
    """A small run of three batches an epoch, with all that draws or remembers."""
    return replace(
        resolve(model=model, framework="llm-cf", recipe="best", seed=1),
        width=16,
        batch=8,
        epochs=3,
        patience=2,
        refresh=2,
        averaging=0.9,
        table_dropout=0.1,
        trimmed=True,
    )


@pytest.fixture(autouse=True)
def torch_as_it_was() -> Iterator[None]:
    yield
    torch.use_deterministic_algorithms(False)


def fit(model: str, checkpoint: Checkpoint | None) -> Fitted:
    config = config_of(model)
    seed_everything(config.seed)
    rows = in_memory.training_rows(users=USERS, items=ITEMS, length=30)
    sequences, examples = Sequences.of(rows), in_memory.example_set(rows, items=ITEMS)
    found = search_exact(examples, Requests.of(rows), NeighbourConfig(stage="retrieval", recipe="best", seed=1))
    shown = Neighbours(*(values[sequences.row_N] for values in found))
    known = torch.ones(USERS + FIRST_ID, dtype=torch.bool)
    tower = UserTower(
        config, known_U=known, items=ITEMS + FIRST_ID, examples=examples, facts=in_memory.item_facts(items=ITEMS)
    )
    log = loop.fit(tower, sequences, shown, checkpoint)
    return [entry | {"seconds": 0} for entry in log], tower.state_dict()


@cache
def undisturbed(model: str) -> Fitted:
    return fit(model, None)


@pytest.mark.parametrize(("model", "killed_at"), KILLED)
def test_a_run_killed_at_any_step_ends_like_one_that_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, killed_at: int
) -> None:
    whole, expected = undisturbed(model)
    step, original = 0, loop.train_step

    def dies(*arguments: Any) -> float:
        nonlocal step
        step += 1
        if step == killed_at:
            raise KeyboardInterrupt
        return original(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "train_step", dies)
        with pytest.raises(KeyboardInterrupt):
            fit(model, Checkpoint(tmp_path, "key"))
    resumed, found = fit(model, Checkpoint(tmp_path, "key"))
    assert resumed == whole
    assert all(torch.equal(found[name], value) for name, value in expected.items())
