"""One update of a model, alike in both stages."""

import math

import torch
from torch import Tensor

from core.errors import UsageError


def update(loss: Tensor, optimizer: torch.optim.Optimizer) -> float:
    """Go one step down the gradient of `loss`; return its value.

    Raises:
        UsageError: if it is not a number; the weights are then left as they were.
    """
    value = loss.item()
    if not math.isfinite(value):
        raise UsageError(f"the training loss is {value}; check the inputs, or lower the learning rate")
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return value
