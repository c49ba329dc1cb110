"""Dropout: the share, the mean, no pattern in the mask, and torch's own behaviour elsewhere."""

import pytest
import torch
from torch import nn

from ict.dropout import Dropout, drop_examples


@pytest.mark.parametrize("share", [0.1, 0.2, 0.5, 0.9])
def test_the_share_is_left_out_and_the_mean_stays(share: float) -> None:
    torch.manual_seed(1)
    out = Dropout(share)(torch.ones(2000, 500))
    deviation = (share * (1 - share) / out.numel()) ** 0.5
    assert (out == 0).double().mean().item() == pytest.approx(share, abs=5 * deviation)
    assert out.unique().tolist() == pytest.approx([0, 1 / (1 - share)], rel=1e-3)
    assert out.mean().item() == pytest.approx(1, abs=5 * deviation / (1 - share))


def test_neighbours_in_a_random_word_are_independent() -> None:
    torch.manual_seed(1)
    kept_XN = (Dropout(0.5)(torch.ones(400_000)) > 0).double().view(-1, 8).T
    correlation = torch.corrcoef(kept_XN) - torch.eye(8, dtype=torch.double)
    assert correlation.abs().max() < 0.025  # five deviations of 50,000 words
    assert (kept_XN.mean(dim=1) - 0.5).abs().max() < 0.012


def test_gradients_pass_where_numbers_did() -> None:
    torch.manual_seed(1)
    x = torch.randn(7, 3, requires_grad=True)  # 21 numbers: no multiple of a word's four
    out = Dropout(0.4)(x)
    out.sum().backward()
    assert x.grad is not None
    assert torch.equal(out.detach(), x.detach() * x.grad)
    assert x.grad.unique().tolist() == pytest.approx([0, 1 / 0.6], rel=1e-3)


def test_the_seed_decides_the_mask() -> None:
    masks = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        masks.append(Dropout(0.5)(torch.ones(64)))
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])


@pytest.mark.parametrize(("share", "training"), [(0.5, False), (0.0, True)])
def test_nothing_is_left_out_when_scoring_or_without_a_share(share: float, training: bool) -> None:
    x = torch.ones(100)
    assert Dropout(share).train(training)(x) is x


def test_it_has_no_weights_so_that_those_of_torch_fit() -> None:
    assert nn.Sequential(Dropout(0.1)).state_dict() == nn.Sequential(nn.Dropout(0.1)).state_dict()


def test_half_precision_stays() -> None:
    assert Dropout(0.5)(torch.ones(8, dtype=torch.bfloat16)).dtype is torch.bfloat16


def test_of_a_share_of_the_rows_no_example_is_left() -> None:
    examples_BK = torch.arange(1, 4001).view(1000, 4)
    assert drop_examples(examples_BK, 0.0) is examples_BK
    torch.manual_seed(0)
    left_BK = drop_examples(examples_BK, 0.1)
    gone_B = (left_BK == 0).all(dim=1)
    assert 70 < int(gone_B.sum()) < 130
    assert torch.equal(left_BK[~gone_B], examples_BK[~gone_B])
