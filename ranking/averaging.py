"""Moving averages of a ranker's weights, which are what is judged and kept.

Every step keeps `share` of an average; they begin with the weights after the first step. Of the weights that a step
changes as a whole `AveragedModel` keeps them. A step changes few rows of a big table (ranking/big_tables.py): the
average of a row is brought up to date when the row is about to change, and before it is read. While it stays w, n
steps make share^n a + (1 - share^n) w of its average a: what taking part in every step would come to.

Suffixes: V rows of a table that are held here, R some of them, Y columns.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


class Averages:
    """Of all weights of a ranker; none, and nothing to do, if `share` is 0.

    Args:
        weights: what a step changes as a whole.
        tables: big tables, (V, Y), by name.
    """

    def __init__(self, weights: Iterable[Tensor], tables: dict[str, Tensor], share: float) -> None:
        self._floats = nn.ParameterList(weight.detach() for weight in weights)  # of the same memory
        self._of_floats = AveragedModel(self._floats, multi_avg_fn=get_ema_multi_avg_fn(share)) if share else None
        self._rows = RowAverages(tables if share else {}, share)

    def before(self, table: str, rows_R: Tensor) -> None:
        """These rows of a big table are about to change; each is there once."""
        self._rows.before(table, rows_R)

    def step(self) -> None:
        """Take in the weights after a step."""
        if self._of_floats is not None:
            self._of_floats.update_parameters(self._floats)
            self._rows.step()

    def state(self) -> dict[str, Tensor]:
        """Everything that changes; they are no copies."""
        if self._of_floats is None:
            return {}
        return self._of_floats.state_dict() | self._rows.state()

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The averages in the place of the weights, if there are any."""
        if self._of_floats is None:
            yield
            return
        self._rows.catch_up()
        weights = [*self._floats, *self._rows.weights.values()]
        kept = [weight.detach().clone() for weight in weights]
        _copy(weights, [*self._of_floats.module.parameters(), *self._rows.averages.values()])
        try:
            yield
        finally:
            _copy(weights, kept)


class RowAverages:
    """Of big tables, row by row; `weights` are the tables themselves."""

    def __init__(self, weights: dict[str, Tensor], share: float) -> None:
        self.weights, self.share = weights, share
        self.averages = {name: weight.clone() for name, weight in weights.items()}
        self._as_of = {name: torch.zeros(len(weight), dtype=torch.int32) for name, weight in weights.items()}
        self._steps = torch.zeros((), dtype=torch.int64)

    def before(self, table: str, rows_R: Tensor) -> None:
        """Bring the averages of rows up to date that are about to change."""
        if self.weights and self._steps:
            self._catch_up(table, rows_R)

    def step(self) -> None:
        """Count a step; the first one's weights are where the averages begin."""
        self._steps += 1
        if self._steps == 1:
            for name, weight in self.weights.items():
                self.averages[name].copy_(weight)
                self._as_of[name].fill_(1)

    def catch_up(self) -> None:
        """Bring the averages of all rows up to date."""
        for name, weight in self.weights.items():
            self._catch_up(name, torch.arange(len(weight), device=weight.device))

    def state(self) -> dict[str, Tensor]:
        """Everything that changes; they are no copies."""
        if not self.weights:
            return {}
        kept = {f"average of {name}": average for name, average in self.averages.items()}
        return kept | {f"as of {name}": steps for name, steps in self._as_of.items()} | {"steps": self._steps}

    @torch.no_grad()
    def _catch_up(self, name: str, rows_R: Tensor) -> None:
        as_of_V, average_VY = self._as_of[name], self.averages[name]
        share_R1 = self.share ** (self._steps - as_of_V[rows_R]).float().unsqueeze(1)
        average_VY[rows_R] = torch.lerp(self.weights[name][rows_R], average_VY[rows_R], share_R1)
        as_of_V[rows_R] = int(self._steps)


@torch.no_grad()
def _copy(weights: Iterable[Tensor], values: Iterable[Tensor]) -> None:
    for weight, value in zip(weights, values, strict=True):
        weight.copy_(value)
