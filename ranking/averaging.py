"""Moving averages of a ranker's weights, which are what is judged and kept.

Every step keeps `share` of an average; they begin with the weights after the first step. Of the weights that a step
changes as a whole `AveragedModel` keeps them; rows of big tables have theirs (ranking/big_tables.py).
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ranking.big_tables import Rows


class Averages:
    """Of all weights of a ranker; none if `share` is 0.

    Args:
        weights: what a step changes as a whole.
    """

    def __init__(self, weights: Iterable[Tensor], rows: Rows, share: float) -> None:
        self._floats = nn.ParameterList(weight.detach() for weight in weights)  # of the same memory
        self._of_floats = AveragedModel(self._floats, multi_avg_fn=get_ema_multi_avg_fn(share)) if share else None
        self._rows = rows

    def step(self) -> None:
        """Take in the weights after a step."""
        if self._of_floats is not None:
            self._of_floats.update_parameters(self._floats)
        self._rows.step()

    def state(self) -> dict[str, Tensor]:
        """Everything that changes; they are no copies."""
        of_floats = {} if self._of_floats is None else self._of_floats.state_dict()
        return of_floats | self._rows.state()

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The averages in the place of the weights, if there are any."""
        self._rows.catch_up()
        if self._of_floats is None:
            yield
            return
        weights = [*self._floats, *self._rows.weights.values()]
        kept = [weight.detach().clone() for weight in weights]
        _copy(weights, [*self._of_floats.module.parameters(), *self._rows.averages.values()])
        try:
            yield
        finally:
            _copy(weights, kept)


@torch.no_grad()
def _copy(weights: Iterable[Tensor], values: Iterable[Tensor]) -> None:
    for weight, value in zip(weights, values, strict=True):
        weight.copy_(value)
