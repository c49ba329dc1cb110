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
from ict.resume import Checkpoint
from ict.seeding import seed_everything
from ranking import big_tables, loop
from ranking.configs import RankerConfig
from ranking.distributed import ALONE, local_weights, whole_weights
from ranking.layers import TABLES
from ranking.ranker import Ranker, build
from ranking.recipes import resolve
from tests import in_memory

PLACE = Workspace("movielens-100k", "shuffled-ties")
NAMED = resolve(PLACE, model="deepfm", framework="none", recipe="strict", seed=1)
STILL = replace(NAMED, width=8, batch=32, id_dropout=0.0, backbone=replace(NAMED.backbone, dropout=0.0))
BIG = replace(STILL, sparse_rows_from=1, sparse_decay=0.1)


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
    trained = ALONE.distribute(model, BIG)
    big_tables.Rows(big_tables.weights(model), share=0.9, decay=0.1).watch(model)
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
    """Against the formula, out of the gradients that the dense way computes; every row then loses its share."""
    model, batches = new(STILL)
    gradients: list[Tensor] = []
    batch = batches(torch.arange(20), training=True)
    big, _ = new(BIG)
    trained = ALONE.distribute(big, BIG)
    rows = big_tables.Rows(big_tables.weights(big), share=0.0, decay=0.1)
    rows.watch(big)
    optimizer = loop.optimizer_of(big, BIG)
    for _ in range(2):
        dense = model.fields.tables.embedding_bags["user"].get_parameter("weight")
        model.load_state_dict(whole_weights(big, ALONE))
        model.zero_grad()
        torch.nn.functional.binary_cross_entropy_with_logits(model(batch).logits_B, batch.label_B).backward()
        assert dense.grad is not None
        gradients.append(dense.grad)
        gathered = sum(gradient.square().mean(dim=1, keepdim=True) for gradient in gradients)
        assert isinstance(gathered, Tensor)
        expected = 0.9 * (dense.detach() - BIG.sparse_rate * gradients[-1] / (gathered.sqrt() + 1e-8))
        loop.train_step(trained, optimizer, batch)
        rows.step()
        rows.catch_up()
        torch.testing.assert_close(local_weights(big)[_key("user")], expected, rtol=1e-4, atol=1e-6)
        assert big_tables.state(big)["user.momentum1/0"].flatten() == pytest.approx(gathered.flatten(), rel=1e-4)


ROWS, STEPS = 12, 40


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9, 0.95])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_rows_are_those_of_a_table_that_is_decayed_and_averaged_as_a_whole(share: float, decay: float) -> None:
    """Most rows change seldom, the last never; with a share of 0.9 average and row decay alike."""
    by_rows = torch.randn(ROWS, 2, generator=torch.Generator().manual_seed(99))
    whole, average = by_rows.clone(), torch.zeros(ROWS, 2)
    rows = big_tables.Rows({"user": by_rows}, share=share, decay=decay)
    for step in range(STEPS):
        generator = torch.Generator().manual_seed(step)
        some = torch.randint(0, ROWS - 1, (3,), generator=generator).unique()
        change = torch.randn(1, 2, generator=generator)
        rows.catch_up_with("user", some)
        torch.testing.assert_close(by_rows[some], whole[some], rtol=1e-4, atol=1e-6)
        by_rows[some] += change
        rows.step()
        whole[some] += change
        whole *= 1 - decay
        average = torch.lerp(whole, average, share) if step else whole.clone()
    rows.catch_up()
    torch.testing.assert_close(by_rows, whole, rtol=1e-4, atol=1e-6)
    if share:
        torch.testing.assert_close(rows.averages["user"], average, rtol=1e-4, atol=1e-6)


def test_a_row_that_is_brought_up_to_date_leaves_the_others_as_they_are() -> None:
    table = torch.ones(ROWS, 2)
    rows = big_tables.Rows({"user": table}, share=0.9, decay=0.1)
    rows.step()
    rows.step()
    before = {"table": table.clone()} | {name: value.clone() for name, value in rows.state().items()}
    rows.catch_up_with("user", torch.tensor([3, 5]))
    after = {"table": table} | rows.state()
    for name in ("table", "average of user", "as of user"):
        changed = (after[name] != before[name]).view(ROWS, -1).any(dim=1).nonzero().flatten().tolist()
        assert changed == [3, 5]


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


def _key(table: str) -> str:
    return f"fields.tables.embedding_bags.{table}.weight/0"
