"""An update goes down the gradient, and a loss that is not a number changes nothing."""

import pytest
import torch

from core.errors import UsageError
from ict.update import update


def test_an_update_returns_the_loss_before_it_and_goes_down_its_gradient_alone() -> None:
    weight = torch.nn.Parameter(torch.tensor(3.0))
    weight.grad = torch.tensor(100.0)  # of a step before
    optimizer = torch.optim.SGD([weight], lr=0.1)
    assert update(weight.square(), optimizer) == 9.0
    assert weight.item() == pytest.approx(3.0 - 0.1 * 6.0)


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_a_loss_that_is_not_a_number_stops_before_the_weights_change(broken: float) -> None:
    weight = torch.nn.Parameter(torch.tensor(3.0))
    with pytest.raises(UsageError, match=f"the training loss is {broken}; .* lower the learning rate"):
        update(weight * broken, torch.optim.SGD([weight], lr=0.1))
    assert weight.item() == 3.0
