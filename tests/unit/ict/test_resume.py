"""What a checkpoint gives back, and when training ends. The tests of the loops kill runs and start them again."""

from pathlib import Path

import torch

from ict.resume import Checkpoint, Progress


def state(model: torch.nn.Module) -> dict[str, dict[str, torch.Tensor]]:
    return {"model": model.state_dict()}


def test_a_checkpoint_gives_back_weights_moments_and_all_that_is_drawn(tmp_path: Path) -> None:
    model, own = torch.nn.Linear(2, 1), torch.Generator().manual_seed(1)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    best = {name: value.clone() for name, value in model.state_dict().items()}
    Checkpoint(tmp_path, "key").save(Progress(epochs=[{"loss": 1.0}], best_epoch=1), state(model), best, optimizer, own)
    drawn, from_own = torch.rand(3), torch.rand(3, generator=own)
    again, other = torch.nn.Linear(2, 1), torch.Generator()
    moved = torch.optim.Adam(again.parameters())
    progress, found = Checkpoint(tmp_path, "key").resume(state(again), moved, other)
    assert progress == Progress(epochs=[{"loss": 1.0}], best_epoch=1)
    assert torch.equal(again.weight, model.weight)
    assert torch.equal(found["weight"], best["weight"])
    assert torch.equal(moved.state_dict()["state"][0]["exp_avg"], optimizer.state_dict()["state"][0]["exp_avg"])
    assert torch.equal(torch.rand(3), drawn)
    assert torch.equal(torch.rand(3, generator=other), from_own)


def test_what_another_run_has_left_is_not_read(tmp_path: Path) -> None:
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.Adam(model.parameters())
    Checkpoint(tmp_path, "one").save(Progress(epochs=[{}]), state(model), {}, optimizer)
    other = torch.nn.Linear(2, 1)
    before = other.weight.clone()
    progress, _ = Checkpoint(tmp_path, "other").resume(state(other), torch.optim.Adam(other.parameters()))
    assert progress == Progress()
    assert torch.equal(other.weight, before)


def test_training_ends_when_validation_stops_getting_better() -> None:
    lines = [{"valid_auc": 0.6}, {"valid_auc": 0.5}]
    assert not Progress(epochs=lines[:1], best_epoch=1).over(4, patience=1)
    assert Progress(epochs=lines, best_epoch=1).over(4, patience=1)
    assert not Progress(epochs=lines, best_epoch=1).over(4, patience=2)
    assert Progress(epochs=lines, best_epoch=2).over(2, patience=2)
