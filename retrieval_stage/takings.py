"""How often each item was taken before a day.

Suffixes: B rows, V items (the first is FIRST_ID), K items of a row, D distinct days, N training rows.
"""

import torch
from torch import Tensor

from core.contracts import FIRST_ID
from retrieval_stage.sequences import Sequences

SPAN = 1 << 32  # more than any day number: id * SPAN + day sorts by id, then by day


class Takings:
    """The items of training rows by day.

    Args:
        held_out: count what rows of other splits took, too, as a running service does.
    """

    def __init__(self, sequences: Sequences, items: int, *, held_out: bool = False) -> None:
        counted_N = slice(None) if held_out else sequences.of_split("train")
        self.items = items
        self._item_N, self._day_N = sequences.item_N[counted_N], sequences.day_N[counted_N]
        self._sorted_N = (self._item_N * SPAN + self._day_N).sort().values

    def as_of(self, day_B: Tensor) -> Tensor:
        """Takings of every item on days before each of these, (B, V); rows of one day share the work."""
        day_D, of_B = torch.unique(day_B, return_inverse=True)
        first_N = torch.searchsorted(day_D, self._day_N, right=True)  # of the days that count a taking
        counted_N = first_N < len(day_D)
        place_N = first_N[counted_N] * self.items + self._item_N[counted_N] - FIRST_ID
        fresh_DV = torch.bincount(place_N, minlength=len(day_D) * self.items).view(len(day_D), self.items)
        return fresh_DV.cumsum(dim=0).float()[of_B]

    def before(self, item_BK: Tensor, day_B: Tensor) -> Tensor:
        """Takings of some items of each row on days before its day, (B, K)."""
        start_BK = torch.searchsorted(self._sorted_N, item_BK * SPAN)
        return torch.searchsorted(self._sorted_N, item_BK * SPAN + day_B[:, None]) - start_BK
