"""Rows in memory, and batches of them, without a Python loop over rows.

Suffixes: N rows, B rows of a batch, U distinct examples + 1 (row 0 is "no example"), X rows whose fields are looked up
together (the batch, then the examples, then items of histories), G distinct items, L history length, C categories an
item, K examples, J dense features, E text width, V items, P histories.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
import torch.nn.functional as F
from torch import Tensor
from torchrec import KeyedJaggedTensor

from core.contracts import DENSE, PAD, UNKNOWN
from ict.examples import ExampleSet, Requests, history_vectors, integers
from ict.module import distinct
from ict.neighbours import Neighbours
from ranking.bags import Bags, Catalogue
from ranking.text_match import TextMatch


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
        seen_B, prefix_B = (history_BL != PAD).sum(dim=1), self.prefix_U[user_B]
        user_B = torch.where((prefix_B >= 0) & (seen_B >= prefix_B), user_B, -1)
        return user_B, torch.where(self.item_VE[item_B].any(dim=1), item_B, -1)


@dataclass(frozen=True, slots=True)
class InContextBatch:
    """The in-context side of a batch. X-long tensors hold the B rows first, then the U distinct examples."""

    slots_BK: Tensor
    similarity_BK: Tensor
    text_YE: Tensor  # of the X histories, then of the G distinct items
    item_X: Tensor  # which of these G is each row's
    cot_UE: Tensor
    label_U: Tensor


class Texts(NamedTuple):
    """The vectors of the distinct users or items of a batch, (U, E), and which of them each row has, (B,), or -1."""

    vectors_UE: Tensor
    of_B: Tensor


@dataclass(frozen=True, slots=True)
class Batch:
    """`sparse` holds the fields of the B rows, then of the U distinct examples, then of the G items of histories.

    `place_BL` are the histories as rows of the latter, for models that attend to them.
    """

    sparse: KeyedJaggedTensor
    dense_BJ: Tensor
    label_B: Tensor
    context: InContextBatch | None = None
    knowledge: tuple[Texts, Texts] | None = None
    teacher_B: Tensor | None = None
    place_BL: Tensor | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchBuilder:
    """Makes batches out of row numbers.

    Args:
        context, knowledge, teacher_N: what LLM-CF, KAR and distillation read; the teacher's NaN means "no score".
        text_match: more dense features.
        attends: whether the model reads the items of a history one by one.
        id_dropout: share of training rows whose user, and of those whose item, is shown as UNKNOWN, so that this row
            of the tables is trained and somebody new can be served.
    """

    rows: Rows
    catalogue: Catalogue
    histories: Histories
    bags: Bags
    context: Context | None = None
    knowledge: Knowledge | None = None
    teacher_N: Tensor | None = None
    text_match: TextMatch | None = None
    attends: bool = False
    id_dropout: float = 0.0

    @classmethod
    def of(cls, rows: Rows, histories: Histories, catalogue: Catalogue, users: int, **read: Any) -> "BatchBuilder":
        """`users` counts the rows of the user table; `read` is what a framework needs beside the rows."""
        context = read.get("context")
        ids = [histories.ids_PL] if context is None else [histories.ids_PL, context.examples.history_ML]
        bags = Bags.of(catalogue, users, torch.cat(ids))
        return cls(rows=rows, catalogue=catalogue, histories=histories, bags=bags, **read)

    def __call__(self, at_B: Tensor, *, training: bool) -> Batch:
        """The batch of rows `at_B`; draws from torch's default generator where `training` drops ids."""
        requests = self.rows.requests
        user_X, item_X, history_X = requests.user_B[at_B], requests.item_B[at_B], self.histories.of_N[at_B]
        if training and self.id_dropout:
            user_X, item_X = (self._drop(ids) for ids in (user_X, item_X))
        shown = place_BL = None
        if self.context is not None:
            ids_U, slots_BK = distinct(self.context.neighbours.examples_NK[at_B])
            shown = self._in_context(self.context, at_B, ids_U, slots_BK)
            examples = self.context.examples
            user_X = torch.cat([user_X, examples.user_M[ids_U]])
            item_X = torch.cat([item_X, examples.item_M[ids_U]])
            history_X = torch.cat([history_X, len(self.histories.ids_PL) + ids_U])
        if self.attends:
            item_G, place_BL = distinct(requests.history_BL[at_B])
            nobody_G = torch.zeros_like(item_G)
            user_X, item_X, history_X = (
                torch.cat(parts) for parts in ((user_X, nobody_G), (item_X, item_G), (history_X, nobody_G))
            )
        return Batch(
            self.bags(user_X, item_X, history_X),
            self.dense(at_B),
            self.rows.label_N[at_B],
            context=shown,
            knowledge=self._knowledge(self.knowledge, at_B) if self.knowledge else None,
            teacher_B=None if self.teacher_N is None else self.teacher_N[at_B],
            place_BL=place_BL,
        )

    def dense(self, at_B: Tensor) -> Tensor:
        """The dense features of rows, (B, J)."""
        dense_BJ = self.rows.dense_NJ[at_B]
        if self.text_match is None:
            return dense_BJ
        return torch.cat([dense_BJ, self.text_match.features_NJ[at_B]], dim=1)

    def _in_context(self, context: Context, at_B: Tensor, ids_U: Tensor, slots_BK: Tensor) -> InContextBatch:
        examples = context.examples
        items = torch.cat([self.rows.requests.item_B[at_B], examples.item_M[ids_U]])
        distinct_G, item_X = distinct(items)
        return InContextBatch(
            slots_BK=slots_BK,
            similarity_BK=context.neighbours.similarity_NK[at_B],
            text_YE=torch.cat(
                [
                    context.history_text_PE[self.histories.of_N[at_B]],
                    context.example_text_ME[ids_U],
                    examples.item_vectors_VE[distinct_G],
                ]
            ),
            item_X=item_X,
            cot_UE=examples.cot_ME[ids_U],
            label_U=examples.label_M[ids_U],
        )

    def _knowledge(self, knowledge: Knowledge, at_B: Tensor) -> tuple[Texts, Texts]:
        requests = self.rows.requests
        subjects = knowledge.subjects(requests.user_B[at_B], requests.item_B[at_B], requests.history_BL[at_B])
        user, item = (
            _texts(vectors, of_B)
            for vectors, of_B in zip((knowledge.user_UE, knowledge.item_VE), subjects, strict=True)
        )
        return user, item

    def _drop(self, ids: Tensor) -> Tensor:
        return ids.masked_fill(torch.rand(len(ids)) < self.id_dropout, UNKNOWN)


def _texts(vectors_XE: Tensor, of_B: Tensor) -> Texts:
    ids_U, place_B = torch.unique(of_B, return_inverse=True)
    none = int((ids_U < 0).sum())  # sorted: it comes first
    return Texts(vectors_XE[ids_U[none:]], place_B - none)
