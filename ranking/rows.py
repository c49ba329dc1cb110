"""What a run holds in memory: every row, the distinct histories, and what frameworks read beside them.

Suffixes: N rows, B of them, P histories, L history length, J dense features, K examples, M examples + 1, E text width,
U users, V items.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
import torch.nn.functional as F
from torch import Tensor

from core.contracts import DENSE, PAD
from ict.examples import ExampleSet, Requests, history_vectors, integers
from ict.neighbours import Neighbours


@dataclass(frozen=True, slots=True)
class Rows:
    """Every training row as tensors, in the order of `schemas.TRAINING_ROWS`."""

    row_N: Tensor
    requests: Requests
    label_N: Tensor
    dense_NJ: Tensor
    split_N: np.ndarray
    draw_N: np.ndarray

    @classmethod
    def of(cls, table: pa.Table) -> "Rows":
        """From a table of `schemas.TRAINING_ROWS`."""
        dense_NJ = np.stack([table[name].to_numpy() for name in DENSE], axis=1)
        label_N = table["label"].to_numpy().astype(np.float32)
        return cls(
            row_N=integers(table, "row"),
            requests=Requests.of(table),
            label_N=torch.from_numpy(label_N),
            dense_NJ=torch.from_numpy(dense_NJ),
            split_N=table["split"].to_numpy(),
            draw_N=table["draw"].to_numpy(),
        )

    def of_split(self, split: str) -> Tensor:
        """Row numbers of a split."""
        return torch.from_numpy(np.flatnonzero(self.split_N == split))

    def of_epoch(self, epoch: int) -> Tensor:
        """Training rows of an epoch, counted from 1: all positives, each with its negative of the epoch's turn."""
        draws = int(self.draw_N.max()) + 1
        turn_N = (self.draw_N == (epoch - 1) % draws) | (self.label_N.numpy() == 1)
        return torch.from_numpy(np.flatnonzero((self.split_N == "train") & turn_N))


@dataclass(frozen=True, slots=True)
class Histories:
    """The distinct histories of the rows: those of one user and position share one. Row 0 is empty."""

    ids_PL: Tensor
    of_N: Tensor

    @classmethod
    def of(cls, requests: Requests) -> "Histories":
        user_N, position_N = requests.user_B.numpy(), requests.position_B.numpy()
        place_N = user_N * (position_N.max() + 1) + position_N
        _, first_P, of_N = np.unique(place_N, return_index=True, return_inverse=True)
        ids_PL = requests.history_BL[torch.from_numpy(first_P)]
        return cls(F.pad(ids_PL, (0, 0, 1, 0)), torch.from_numpy(of_N) + 1)


@dataclass(frozen=True, slots=True)
class Context:
    """What the ICT module needs beyond the rows: examples, each row's neighbours, and the text of histories."""

    examples: ExampleSet
    neighbours: Neighbours
    history_text_PE: Tensor
    example_text_ME: Tensor

    @classmethod
    def of(cls, histories: Histories, examples: ExampleSet, neighbours: Neighbours) -> "Context":
        vectors_VE = examples.item_vectors_VE
        return cls(
            examples,
            neighbours,
            history_text_PE=history_vectors(vectors_VE, histories.ids_PL),
            example_text_ME=history_vectors(vectors_VE, examples.history_ML),
        )


@dataclass(frozen=True, slots=True)
class Knowledge:
    """KAR's texts as vectors: of users (U, E), of items (V, E), zero where there is none.

    A user's text tells of the first `prefix_U` interactions, so a row reads it from that position on; -1 for none.
    """

    user_UE: Tensor
    item_VE: Tensor
    prefix_U: Tensor

    def subjects(self, user_B: Tensor, item_B: Tensor, history_BL: Tensor) -> tuple[Tensor, Tensor]:
        """The user and the item of each row if it may read a text about them, else -1: (B,) each."""
        user_B = torch.where(may_read(self.prefix_U[user_B], history_BL), user_B, -1)
        return user_B, torch.where(self.item_VE[item_B].any(dim=1), item_B, -1)


def may_read(prefix_B: Tensor, history_BL: Tensor) -> Tensor:
    """KAR's leak rule: a text that tells of the first `prefix_B` interactions is read from that position on; (B,)."""
    return (prefix_B >= 0) & ((history_BL != PAD).sum(dim=1) >= prefix_B)
