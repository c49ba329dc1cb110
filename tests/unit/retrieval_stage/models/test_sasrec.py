"""SASRec and its tables: causal, blind to padding, rows independent, TorchRec equal to a plain table."""

import pytest
import torch
from torch.testing import assert_close

from core.contracts import PAD, UNKNOWN
from retrieval_stage.embeddings import DenseTable, EmbeddingTable
from retrieval_stage.models.sasrec import SASRec

LENGTH, WIDTH = 6, 8


@pytest.fixture
def sasrec() -> SASRec:
    torch.manual_seed(0)
    return SASRec(width=WIDTH, length=LENGTH, layers=2, heads=2, dropout=0.5).eval()


def test_a_state_sees_nothing_after_it(sasrec: SASRec) -> None:
    items, there = torch.randn(3, LENGTH, WIDTH), torch.ones(3, LENGTH, dtype=torch.bool)
    changed = items.clone()
    changed[:, 3:] = torch.randn(3, 3, WIDTH)  # a shift by a constant would vanish in the norms
    before, after = sasrec(items, there), sasrec(changed, there)
    assert_close(before[:, :3], after[:, :3])
    assert not torch.isclose(before[:, 3:], after[:, 3:], atol=1e-4).all(dim=-1).any()


def test_every_earlier_item_counts(sasrec: SASRec) -> None:
    items, there = torch.randn(1, LENGTH, WIDTH), torch.ones(1, LENGTH, dtype=torch.bool)
    for place in range(LENGTH):
        changed = items.clone()
        changed[:, place] = torch.randn(WIDTH)
        assert not torch.allclose(sasrec(items, there)[:, -1], sasrec(changed, there)[:, -1], atol=1e-5), place


def test_padding_is_never_looked_at(sasrec: SASRec) -> None:
    items, there = torch.randn(2, LENGTH, WIDTH), torch.tensor([[False] * 4 + [True] * 2, [False] * LENGTH])
    changed = items.clone()
    changed[0, :4] = torch.randn(4, WIDTH)
    assert_close(sasrec(items, there)[0, 4:], sasrec(changed, there)[0, 4:])
    assert torch.isfinite(sasrec(items, there)).all(), "an empty history has a state as well"


def test_rows_of_a_batch_do_not_touch_each_other(sasrec: SASRec) -> None:
    items, there = torch.randn(4, LENGTH, WIDTH), torch.rand(4, LENGTH) > 0.3
    alone = torch.cat([sasrec(items[row : row + 1], there[row : row + 1]) for row in range(4)])
    assert_close(sasrec(items, there), alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("ids", [torch.tensor([4, 0, 2]), torch.tensor([[0, 0, 3], [0, 4, 4], [0, 0, 0]])])
def test_torchrec_table_looks_up_what_a_plain_one_does(ids: torch.Tensor) -> None:
    table = EmbeddingTable("item", 5, WIDTH)
    plain = DenseTable(table, UNKNOWN)
    assert_close(table(ids), plain(ids))
    assert (table(ids)[ids == PAD] == 0).all()
    table(ids).square().sum().backward()
    assert table.weight.grad is not None
    touched = (table.weight.grad != 0).any(dim=1)
    assert touched.nonzero().flatten().tolist() == sorted(set(ids.flatten().tolist()) - {PAD})


def test_an_id_beyond_the_table_is_unknown() -> None:
    plain = DenseTable(EmbeddingTable("item", 5, WIDTH), UNKNOWN)
    assert_close(plain(torch.tensor([5, 99])), plain(torch.tensor([UNKNOWN, UNKNOWN])))
