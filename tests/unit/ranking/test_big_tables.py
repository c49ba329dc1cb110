"""Tables that are trained row by row: what a step touches and computes, and that a killed run ends like a whole one."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, distributed

from core.settings import Workspace
from ict.seeding import seed_everything
from ranking import big_tables, loop
from ranking.distributed import ALONE, local_weights, whole_weights
from ranking.layers import TABLES
from ranking.ranker import Ranker
from ranking.recipes import RankerConfig, resolve
from ranking.registry import build
from ranking.resume import Checkpoint
from tests import in_memory

PLACE = Workspace("movielens-100k", "shuffled-ties")
NAMED = resolve(PLACE, model="deepfm", framework="none", recipe="strict", seed=1)
STILL = replace(NAMED, width=8, batch=32, id_dropout=0.0, backbone=replace(NAMED.backbone, dropout=0.0))
BIG = replace(STILL, sparse_rows_from=1)


@pytest.fixture(autouse=True)
def torch_as_it_was() -> Iterator[None]:
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture(autouse=True)
def group() -> Iterator[None]:
    with big_tables.process_group():
        yield
    assert not distributed.is_initialized()


def new(config: RankerConfig) -> tuple[Ranker, in_memory.BatchBuilder]:
    seed_everything(config.seed)
    batches, shape = in_memory.batches()
    return build(config, shape), batches


def test_only_tables_of_enough_rows_are_big() -> None:
    model, _ = new(STILL)
    assert big_tables.names(model, replace(STILL, sparse_rows_from=0)) == []
    assert big_tables.names(model, STILL) == []
    assert big_tables.names(model, replace(STILL, sparse_rows_from=15)) == ["item"]  # 32 rows; 14 users
    assert big_tables.names(model, BIG) == list(TABLES)


def test_a_step_changes_the_rows_it_looked_up_and_no_other() -> None:
    model, batches = new(BIG)
    trained = ALONE.spread(model, BIG)
    optimizer = loop.optimizer_of(model, BIG)
    before = {name: weight.clone() for name, weight in local_weights(model).items()}
    at_B = torch.arange(6)
    loop.train_step(trained, optimizer, batches(at_B, training=True))
    requests = batches.rows.requests
    seen = {
        "user": requests.user_B[at_B],
        "item": torch.cat([requests.item_B[at_B], requests.history_BL[at_B].flatten()]),
    }
    for table, ids in seen.items():
        changed = (local_weights(model)[_key(table)] != before[_key(table)]).any(dim=1).nonzero().flatten()
        assert changed.tolist() == sorted(set(ids[ids > 0].tolist()))
    assert any(not torch.equal(local_weights(model)[name], before[name]) for name in before if "tower" in name)


def test_a_step_is_row_wise_adagrads() -> None:
    """Against the formula, out of the gradients that the dense way computes."""
    model, batches = new(STILL)
    gradients: list[Tensor] = []
    batch = batches(torch.arange(20), training=True)
    big, _ = new(BIG)
    trained = ALONE.spread(big, BIG)
    big_tables.watch(big, lambda *_: None, BIG.sparse_decay)
    optimizer = loop.optimizer_of(big, BIG)
    for _ in range(2):
        dense = model.fields.tables.embedding_bags["user"].get_parameter("weight")
        model.load_state_dict(whole_weights(big, ALONE))
        model.zero_grad()
        torch.nn.functional.binary_cross_entropy_with_logits(model(batch).logits_B, batch.label_B).backward()
        assert dense.grad is not None
        seen = dense.grad.any(dim=1).unsqueeze(1)
        gradients.append(dense.grad)
        gathered = sum(gradient.square().mean(dim=1, keepdim=True) for gradient in gradients)
        assert isinstance(gathered, Tensor)
        decayed = torch.where(seen, (1 - BIG.sparse_decay) * dense.detach(), dense.detach())
        expected = decayed - BIG.sparse_rate * gradients[-1] / (gathered.sqrt() + 1e-8)
        loop.train_step(trained, optimizer, batch)
        torch.testing.assert_close(local_weights(big)[_key("user")], expected, rtol=1e-4, atol=1e-6)
        assert big_tables.state(big)["user.momentum1/0"].flatten() == pytest.approx(gathered.flatten(), rel=1e-4)


def fit(checkpoint: Checkpoint | None, config: RankerConfig) -> tuple[dict[str, Any], dict[str, Tensor], np.ndarray]:
    model, batches = new(config)
    account = loop.fit(model, replace(batches, id_dropout=0.2), config, checkpoint)
    return account, whole_weights(model, ALONE), loop.predict(model, batches, batches.rows.of_split("valid"))


@pytest.mark.parametrize("averaging", [0.0, 0.9])
@pytest.mark.parametrize("killed_at", [3, 12])
def test_a_run_killed_at_any_step_ends_like_one_that_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_at: int, averaging: float
) -> None:
    config = replace(BIG, epochs=4, patience=4, averaging=averaging)
    whole, weights, scores = fit(None, config)
    checkpoint, step, original = Checkpoint(tmp_path, "key"), 0, loop.train_step

    def dies(*arguments: Any) -> float:
        nonlocal step
        step += 1
        if step == killed_at:
            raise KeyboardInterrupt
        return original(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "train_step", dies)
        with pytest.raises(KeyboardInterrupt):
            fit(checkpoint, config)
    resumed, same, again = fit(checkpoint, config)
    assert resumed["losses"] == whole["losses"]
    assert [line["valid_auc"] for line in resumed["epochs"]] == [line["valid_auc"] for line in whole["epochs"]]
    assert all(torch.equal(same[name], value) for name, value in weights.items())
    assert np.array_equal(scores, again)


def test_the_loss_goes_down_and_the_weights_score_the_same_without_shards() -> None:
    config = replace(BIG, epochs=6, patience=6, averaging=0.9)
    account, weights, scores = fit(None, config)
    assert account["epochs"][-1]["loss"] < account["epochs"][0]["loss"] - 0.01
    plain, batches = new(STILL)
    plain.load_state_dict(weights)
    np.testing.assert_allclose(loop.predict(plain, batches, batches.rows.of_split("valid")), scores, atol=1e-6)


def test_averages_of_rows_are_those_of_the_whole_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every step of a run, by a copy that takes part in each."""
    config, share = replace(BIG, epochs=2, averaging=0.9), 0.9
    copies: dict[str, Tensor] = {}
    model, batches = new(config)
    original = loop.Averages.step

    def step(averages: loop.Averages) -> None:
        original(averages)
        for name, weight in big_tables.weights(model).items():
            copies[name] = torch.lerp(weight, copies[name], share) if name in copies else weight.clone()

    monkeypatch.setattr(loop.Averages, "step", step)
    monkeypatch.setattr(loop.metrics, "auc", lambda *_: 1.0)  # the last epoch counts as best
    loop.fit(model, batches, config)
    for name, weight in big_tables.weights(model).items():
        torch.testing.assert_close(weight, copies[name], rtol=1e-4, atol=1e-6)


def _key(table: str) -> str:
    return f"fields.tables.embedding_bags.{table}.weight/0"
