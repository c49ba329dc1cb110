"""Averages take the weights' place while they are judged, and give it back."""

import torch
from torch import Tensor

from ranking.averaging import Averages
from ranking.big_tables import Rows

SHARE = 0.9


def averages_of(weight: Tensor, table: Tensor, share: float) -> Averages:
    return Averages([weight], Rows({"user": table}, share=share, decay=0.0), share)


def test_averages_begin_with_the_first_step_and_keep_their_share() -> None:
    weight, table = torch.zeros(2), torch.zeros(3, 2)
    averages = averages_of(weight, table, SHARE)
    for value in (1.0, 2.0, 4.0):
        weight.fill_(value)
        averages.step()
    expected = SHARE * (SHARE * 1 + (1 - SHARE) * 2) + (1 - SHARE) * 4
    with averages.in_place():
        torch.testing.assert_close(weight, torch.full((2,), expected))
    assert torch.equal(weight, torch.full((2,), 4.0)), "the weights are back"


def test_without_a_share_the_weights_are_judged_themselves() -> None:
    weight, table = torch.ones(2), torch.ones(3, 2)
    averages = averages_of(weight, table, 0.0)
    averages.step()
    with averages.in_place():
        assert torch.equal(weight, torch.ones(2))
        assert torch.equal(table, torch.ones(3, 2))


def test_the_weights_are_back_after_an_error() -> None:
    weight, table = torch.zeros(2), torch.zeros(3, 2)
    averages = averages_of(weight, table, SHARE)
    averages.step()
    weight.fill_(7.0)
    try:
        with averages.in_place():
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        assert torch.equal(weight, torch.full((2,), 7.0))
