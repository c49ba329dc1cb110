"""The sliced softmax is cross entropy, value and gradients; the sampled one never counts the target as a negative."""

from math import exp, log

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from retrieval_stage import losses


@pytest.mark.parametrize("positions", [1, 7, 8, 20])
def test_full_softmax_is_cross_entropy(positions: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "_SLICE", 8)  # several slices, the last one short
    monkeypatch.setattr(losses, "_BLOCK", 4)  # and several blocks of items
    torch.manual_seed(positions)
    vectors, items = torch.randn(positions, 5, requires_grad=True), torch.randn(11, 5, requires_grad=True)
    targets = torch.randint(11, (positions,))
    expected = F.cross_entropy(vectors @ items.T, targets)
    expected_gradients = torch.autograd.grad(3 * expected, (vectors, items))
    loss = losses.full_softmax(vectors, items, targets)
    assert_close(loss, expected)
    assert_close(torch.autograd.grad(3 * loss, (vectors, items)), expected_gradients)


def test_full_softmax_survives_large_scores() -> None:
    vectors, items = torch.full((2, 1), 100.0), torch.tensor([[100.0], [-100.0]])
    loss = losses.full_softmax(vectors, items, torch.tensor([0, 1]))
    assert loss.item() == pytest.approx(10_000)


def test_full_softmax_in_bfloat16_differs_by_rounding_alone() -> None:
    torch.manual_seed(0)
    vectors, items = torch.randn(300, 16, requires_grad=True), torch.randn(200, 16, requires_grad=True)
    targets = torch.randint(200, (300,))
    exact, rounded = (losses.full_softmax(vectors, items, targets, name) for name in ("float32", "bfloat16"))
    assert rounded.item() == pytest.approx(exact.item(), rel=1e-3)
    assert rounded.item() != exact.item()
    of_exact, of_rounded = (torch.autograd.grad(loss, (vectors, items)) for loss in (exact, rounded))
    for right, near in zip(of_exact, of_rounded, strict=True):
        assert near.dtype == torch.float32
        assert (near - right).norm() < 0.02 * right.norm()


def test_sampled_softmax_by_hand() -> None:
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randint(2, (3,), generator=torch.Generator().manual_seed(0)).tolist()
    assert set(drawn) == {0, 1}
    loss = losses.sampled_softmax(torch.ones(1, 1), torch.tensor([[2.0], [1.0]]), torch.tensor([0]), 3, generator)
    others = drawn.count(1)  # draws of the target itself are left out
    assert loss.item() == pytest.approx(log(1 + others * exp(-1)))
