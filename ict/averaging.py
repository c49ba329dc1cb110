"""Moving averages of a model's weights, which are what is judged and kept.

Every step keeps `share` of an average; they begin with the weights after the first step.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


class Averages:
    """Of weights that every step changes as a whole; none if `share` is 0."""

    def __init__(self, weights: Iterable[Tensor], share: float) -> None:
        self._live = nn.ParameterList(weight.detach() for weight in weights)  # of the same memory
        self._averaged = AveragedModel(self._live, multi_avg_fn=get_ema_multi_avg_fn(share)) if share else None

    def step(self) -> None:
        """Take in the weights after a step."""
        if self._averaged is not None:
            self._averaged.update_parameters(self._live)

    def state(self) -> dict[str, Tensor]:
        """Everything that changes; they are no copies."""
        return {} if self._averaged is None else self._averaged.state_dict()

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The averages in the place of the weights, if there are any."""
        if self._averaged is None:
            yield
            return
        with exchanged(self._live, self._averaged.module.parameters()):
            yield


@contextmanager
def exchanged(weights: Iterable[Tensor], values: Iterable[Tensor]) -> Iterator[None]:
    """Other values in these weights for a while."""
    weights = list(weights)
    kept = [weight.detach().clone() for weight in weights]
    _copy(weights, values)
    try:
        yield
    finally:
        _copy(weights, kept)


@torch.no_grad()
def _copy(weights: Iterable[Tensor], values: Iterable[Tensor]) -> None:
    for weight, value in zip(weights, values, strict=True):
        weight.copy_(value)
