"""Users' sequences as tensors: windows to train on, rows to evaluate, and what each row's user had seen.

Suffixes: N positives, X windows, B batch, L history length.
"""

from dataclasses import dataclass, fields

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from core.contracts import ON_SALE, PAD, SPLITS
from ict.examples import Requests


@dataclass(frozen=True, slots=True)
class Sequences:
    """Every interaction of a workspace with the history before it, sorted by user and position.

    `row_N` is the positive's row in training/rows.parquet; `split_N` indexes `contracts.SPLITS`; `history_NL` is
    newest last, padded on the left.
    """

    row_N: Tensor
    user_N: Tensor
    item_N: Tensor
    position_N: Tensor
    day_N: Tensor
    split_N: Tensor
    history_NL: Tensor

    def __len__(self) -> int:
        return len(self.row_N)

    @classmethod
    def of(cls, rows: pa.Table) -> "Sequences":
        """From a table with the columns of `schemas.TRAINING_ROWS`; its negatives are left out."""
        once = rows["split"].to_numpy() != ON_SALE  # whose positives are those of the test split
        kept = np.flatnonzero((rows["label"].to_numpy() == 1) & once)
        positives = rows.take(pa.array(kept))
        split = np.array(positives["split"].to_pylist())
        requests = Requests.of(positives)
        return cls(
            row_N=torch.from_numpy(kept),
            user_N=requests.user_B,
            item_N=requests.item_B,
            position_N=requests.position_B,
            day_N=requests.day_B,
            split_N=torch.from_numpy(np.argmax(split[:, None] == np.array(SPLITS), axis=1)),
            history_NL=requests.history_BL,
        )

    def of_split(self, split: str) -> Tensor:
        """Indices of a split's positives."""
        return torch.nonzero(self.split_N == SPLITS.index(split)).flatten()

    def before(self, day: int) -> "Sequences":
        """What happened on days before one: of each user the first so many positions."""
        kept_N = self.day_N < day
        return Sequences(*(getattr(self, one.name)[kept_N] for one in fields(self)))

    def windows(self, generator: torch.Generator) -> Tensor:
        """Training rows whose histories, read as windows, hold every training row as a target at least once.

        A row's history and target are L consecutive steps, each with the items before it. So every L-th row of a user
        does, counted from a random place, together with the user's last training row.
        """
        length = self.history_NL.shape[1]
        train_N = self.split_N == SPLITS.index("train")
        offset_U = torch.randint(length, (int(self.user_N.max()) + 1,), generator=generator)
        regular_N = (self.position_N - offset_U[self.user_N]) % length == 0
        same_user_N = torch.cat([self.user_N[1:] == self.user_N[:-1], torch.tensor([False])])
        last_N = ~(same_user_N & torch.roll(train_N, -1))
        return torch.nonzero(train_N & (regular_N | last_N)).flatten()

    def steps(self) -> Tensor:
        """Training rows whose user's interaction before is a training row too: what followed what."""
        train_N = self.of_split("train")
        follows_N = (train_N[1:] == train_N[:-1] + 1) & (self.user_N[train_N[1:]] == self.user_N[train_N[:-1]])
        return train_N[1:][follows_N]

    def targets(self, index_B: Tensor) -> Tensor:
        """The item that each position of a window must predict, (B, L); PAD before the user's first."""
        return torch.cat([self.history_NL[index_B, 1:], self.item_N[index_B, None]], dim=1)

    def rows_of_window(self, index_B: Tensor) -> Tensor:
        """The positive, as an index into N, whose target each position predicts, (B, L); meaningless at padding."""
        length = self.history_NL.shape[1]
        return index_B[:, None] + torch.arange(1 - length, 1)

    def seen(self, index_B: Tensor) -> tuple[Tensor, Tensor]:
        """Everything the users took before these rows: pairs of a row of the batch and an item, two flat tensors."""
        earlier_B = self.position_N[index_B]
        of_row = torch.repeat_interleave(torch.arange(len(index_B)), earlier_B)
        first_of_user_B = index_B - earlier_B
        starts_B = earlier_B.cumsum(0) - earlier_B
        place = torch.arange(len(of_row)) - starts_B[of_row] + first_of_user_B[of_row]
        return of_row, self.item_N[place]


def hide(ids: Tensor, share: float, unknown: int, generator: torch.Generator) -> Tensor:
    """Replace a random `share` of the ids, padding aside, by `unknown`."""
    hidden = (torch.rand(ids.shape, generator=generator) < share) & (ids != PAD)
    return ids.masked_fill(hidden, unknown)
