"""A ranking run that is killed at any step and started again ends as one that never was."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from core.settings import Workspace
from ict.resume import Checkpoint
from ict.seeding import seed_everything
from ranking import loop
from ranking.configs import RankerConfig
from ranking.distributed import Group
from ranking.ranker import build
from ranking.recipes import resolve
from tests import in_memory

CONFIG = replace(
    resolve(Workspace("movielens-100k", "shuffled-ties"), model="deepfm", framework="llm-cf", recipe="best", seed=1),
    width=8, batch=32, epochs=3, patience=3,
)  # fmt: skip


@pytest.fixture(autouse=True)
def torch_as_it_was() -> Iterator[None]:
    yield
    torch.use_deterministic_algorithms(False)


def fit(checkpoint: Checkpoint | None, config: RankerConfig = CONFIG) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    seed_everything(config.seed)
    batches, shape = in_memory.batches(framework=config.framework, recipe=config.recipe)
    model = build(config, shape)
    return loop.fit(model, replace(batches, id_dropout=0.2), config, checkpoint), model.state_dict()


@pytest.mark.parametrize("killed_at", [1, 5, 9, 12])
def test_a_run_killed_at_any_step_ends_like_one_that_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_at: int
) -> None:
    whole, weights = fit(None)
    checkpoint = Checkpoint(tmp_path, "key")
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
            fit(checkpoint)
    resumed, same = fit(checkpoint)
    assert resumed["losses"] == whole["losses"]
    assert [line["valid_auc"] for line in resumed["epochs"]] == [line["valid_auc"] for line in whole["epochs"]]
    assert resumed["best_epoch"] == whole["best_epoch"]
    assert all(torch.equal(same[name], value) for name, value in weights.items())


class _Behind(Group):
    """With another process that was killed before it had saved the last epoch."""

    def minimum(self, value: int) -> int:
        return value - 1


def test_processes_go_on_after_the_last_epoch_that_all_have_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, weights = fit(Checkpoint(tmp_path, "key"))
    saved: list[int] = []
    monkeypatch.setattr(Checkpoint, "save", lambda _, progress, *state: saved.append(progress.epoch))
    resumed, same = fit(Checkpoint(tmp_path, "key", _Behind()))
    assert saved == [3]
    assert resumed["losses"] == whole["losses"]
    assert all(torch.equal(same[name], value) for name, value in weights.items())
