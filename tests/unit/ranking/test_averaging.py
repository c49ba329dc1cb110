"""Averages of rows that are brought up to date when they change equal those that take part in every step."""

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ranking.averaging import Averages, RowAverages

SHARE, STEPS, ROWS = 0.9, 40, 12


def changes(step: int) -> Tensor:
    """The rows that a step changes: most of them seldom, row 11 never."""
    generator = torch.Generator().manual_seed(step)
    return torch.randint(0, ROWS - 1, (3,), generator=generator)


def run(averages: Averages, table: Tensor) -> None:
    for step in range(STEPS):
        averages.before("user", changes(step).unique())
        table[changes(step)] += torch.randn(1, 2, generator=torch.Generator().manual_seed(step))
        averages.step()


def new_table() -> Tensor:
    return torch.randn(ROWS, 2, generator=torch.Generator().manual_seed(99))


def test_rows_have_the_averages_of_a_table_that_is_averaged_as_a_whole() -> None:
    by_rows, whole = new_table(), new_table()
    averages = Averages([torch.zeros(1)], {"user": by_rows}, SHARE)
    run(averages, by_rows)
    reference = nn.ParameterList([whole])
    dense = AveragedModel(reference, multi_avg_fn=get_ema_multi_avg_fn(SHARE))
    for step in range(STEPS):
        with torch.no_grad():
            reference[0][changes(step)] += torch.randn(1, 2, generator=torch.Generator().manual_seed(step))
        dense.update_parameters(reference)
    with averages.in_place():
        torch.testing.assert_close(by_rows, next(dense.module.parameters()).detach(), rtol=1e-5, atol=1e-6)
        assert not torch.equal(by_rows, reference[0].detach())
    assert torch.equal(by_rows, reference[0].detach()), "the weights are back"


def test_a_step_touches_the_rows_it_changes_and_no_other() -> None:
    table = new_table()
    rows = RowAverages({"user": table}, SHARE)
    rows.step()
    before = {name: value.clone() for name, value in rows.state().items()}
    table += 1
    rows.step()
    rows.before("user", torch.tensor([3, 5]))
    after = rows.state()
    for name in ("average of user", "as of user"):
        changed = (after[name] != before[name]).view(ROWS, -1).any(dim=1).nonzero().flatten().tolist()
        assert changed == [3, 5]


def test_without_a_share_there_is_nothing_to_do() -> None:
    table = new_table()
    averages = Averages([table], {"user": table}, 0.0)
    run(averages, table)
    before = table.clone()
    with averages.in_place():
        assert torch.equal(table, before)
    assert averages.state() == {}


def test_the_state_is_live_and_goes_on_where_it_was() -> None:
    one, other = new_table(), new_table()
    first, second = Averages([torch.zeros(1)], {"user": one}, SHARE), Averages([torch.zeros(1)], {"user": other}, SHARE)
    run(first, one)
    with torch.no_grad():
        other.copy_(one)
        for name, value in second.state().items():
            value.copy_(first.state()[name])
    run(first, one)
    run(second, other)
    with first.in_place(), second.in_place():
        assert torch.equal(one, other)


@pytest.mark.parametrize("share", [0.5, 0.99])
def test_rows_that_never_change_are_their_own_average(share: float) -> None:
    table = new_table()
    averages = Averages([torch.zeros(1)], {"user": table}, share)
    run(averages, table)
    with averages.in_place():
        torch.testing.assert_close(table[ROWS - 1], new_table()[ROWS - 1])
