"""Moving averages of a ranker's weights. Rows of big tables, which a step need not touch, have their own
(ranking/big_tables.py)."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from torch import Tensor

from ict import averaging
from ranking.big_tables import Rows


class Averages(averaging.Averages):
    """Of all weights of a ranker; none if `share` is 0.

    Args:
        weights: what a step changes as a whole.
    """

    def __init__(self, weights: Iterable[Tensor], rows: Rows, share: float) -> None:
        super().__init__(weights, share)
        self._rows = rows
        self._share = share

    def step(self) -> None:
        """See `averaging.Averages.step`."""
        super().step()
        self._rows.step()

    def state(self) -> dict[str, Tensor]:
        """See `averaging.Averages.state`."""
        return super().state() | self._rows.state()

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """See `averaging.Averages.in_place`."""
        self._rows.catch_up()
        with super().in_place():
            if not self._share:
                yield
                return
            with averaging.exchanged(self._rows.weights.values(), self._rows.averages.values()):
                yield
