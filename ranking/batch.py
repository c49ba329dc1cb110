"""Rows in memory, and batches of them: a KeyedJaggedTensor of the seven fields, without a Python loop over rows.

Suffixes: N rows, B rows of a batch, U distinct examples + 1 (row 0 is "no example"), X = B + U rows whose fields are
looked up together, G distinct items among these, L history length, C categories an item, K examples, J dense features,
E text width, V items, P histories.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor
from torchrec import KeyedJaggedTensor

from core.contracts import CATEGORIES, DENSE, PAD, UNKNOWN
from ict.examples import ExampleSet, Requests, history_vectors, integers
from ict.module import distinct
from ict.neighbours import Neighbours
from ranking.layers import FIELDS, Sizes


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What the model knows of items: brand (V,) and categories (V, C), padded. Rows 0 and 1 have none."""

    brand_V: Tensor
    categories_VC: Tensor

    @classmethod
    def of(cls, items: pa.Table) -> "Catalogue":
        """From a table of `schemas.ITEMS`."""
        number = integers(items, "item")
        brand_V = torch.zeros(int(number.max()) + 1, dtype=torch.int64)
        categories_VC = torch.zeros(len(brand_V), CATEGORIES, dtype=torch.int64)
        brand_V[number] = integers(items, "brand_id")
        column = items["category_ids"].combine_chunks()
        lengths = torch.from_numpy(np.diff(column.offsets.to_numpy()))
        place = torch.arange(CATEGORIES) < lengths[:, None]
        padded = torch.zeros(len(number), CATEGORIES, dtype=torch.int64)
        padded[place] = torch.from_numpy(column.flatten().to_numpy().copy())
        categories_VC[number] = padded
        return cls(brand_V, categories_VC)

    def sizes(self, users: int) -> Sizes:
        """Rows of each embedding table; `users` counts the vocabulary's rows."""
        return Sizes(
            user=users,
            item=len(self.brand_V),
            brand=max(int(self.brand_V.max()), UNKNOWN) + 1,
            category=max(int(self.categories_VC.max()), UNKNOWN) + 1,
        )


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
class Context:
    """What the ICT module needs beyond the rows: examples, each row's neighbours, and the text of histories.

    A row and its negative follow each other and share one of the P histories.
    """

    examples: ExampleSet
    neighbours: Neighbours
    history_text_PE: Tensor
    history_N: Tensor  # rows of `history_text_PE`
    example_text_ME: Tensor

    @classmethod
    def of(cls, rows: Rows, examples: ExampleSet, neighbours: Neighbours) -> "Context":
        vectors_VE = examples.item_vectors_VE
        history_PL, history_N = torch.unique_consecutive(rows.requests.history_BL, dim=0, return_inverse=True)
        return cls(
            examples,
            neighbours,
            history_text_PE=history_vectors(vectors_VE, history_PL),
            history_N=history_N,
            example_text_ME=history_vectors(vectors_VE, examples.history_ML),
        )


@dataclass(frozen=True, slots=True)
class InContextBatch:
    """The in-context side of a batch. X-long tensors hold the B rows first, then the U distinct examples."""

    slots_BK: Tensor
    similarity_BK: Tensor
    item_text_GE: Tensor  # of the G distinct items among them
    item_X: Tensor  # rows of `item_text_GE`
    history_text_XE: Tensor
    cot_UE: Tensor
    label_U: Tensor


@dataclass(frozen=True, slots=True)
class Batch:
    """`sparse` holds the fields of the B rows first, then, with a context, those of the U distinct examples."""

    sparse: KeyedJaggedTensor
    dense_BJ: Tensor
    label_B: Tensor
    context: InContextBatch | None = None


@dataclass(frozen=True, slots=True)
class BatchBuilder:
    """Makes batches out of row numbers.

    Args:
        id_dropout: share of training rows whose user, and of those whose item, is shown as UNKNOWN, so that this row
            of the tables is trained and somebody new can be served.
    """

    rows: Rows
    catalogue: Catalogue
    context: Context | None
    id_dropout: float = 0.0

    def __call__(self, at_B: Tensor, *, training: bool) -> Batch:
        """The batch of rows `at_B`; draws from torch's default generator where `training` drops ids."""
        requests = self.rows.requests
        user_X, item_X, history_XL = requests.user_B[at_B], requests.item_B[at_B], requests.history_BL[at_B]
        if training and self.id_dropout:
            user_X, item_X = (self._drop(ids) for ids in (user_X, item_X))
        shown = None
        if self.context is not None:
            ids_U, slots_BK = self._shown(self.context, at_B)
            shown = self._in_context(self.context, at_B, ids_U, slots_BK)
            examples = self.context.examples
            user_X = torch.cat([user_X, examples.user_M[ids_U]])
            item_X = torch.cat([item_X, examples.item_M[ids_U]])
            history_XL = torch.cat([history_XL, examples.history_ML[ids_U]])
        sparse = sparse_fields(padded_fields(self.catalogue, user_X, item_X, history_XL))
        return Batch(sparse, self.rows.dense_NJ[at_B], self.rows.label_N[at_B], shown)

    def _shown(self, context: Context, at_B: Tensor) -> tuple[Tensor, Tensor]:
        """The distinct examples of the batch, or simply all where a batch shows nearly all anyway."""
        examples_BK = context.neighbours.examples_NK[at_B]
        everything = context.examples.count + 1
        if everything <= examples_BK.numel():
            return torch.arange(everything), examples_BK
        return distinct(examples_BK)

    def _in_context(self, context: Context, at_B: Tensor, ids_U: Tensor, slots_BK: Tensor) -> InContextBatch:
        examples = context.examples
        items = torch.cat([self.rows.requests.item_B[at_B], examples.item_M[ids_U]])
        distinct_G, item_X = torch.unique(items, return_inverse=True)
        return InContextBatch(
            slots_BK=slots_BK,
            similarity_BK=context.neighbours.similarity_NK[at_B],
            item_text_GE=examples.item_vectors_VE[distinct_G],
            item_X=item_X,
            history_text_XE=torch.cat(
                [context.history_text_PE[context.history_N[at_B]], context.example_text_ME[ids_U]]
            ),
            cot_UE=examples.cot_ME[ids_U],
            label_U=examples.label_M[ids_U],
        )

    def _drop(self, ids: Tensor) -> Tensor:
        return ids.masked_fill(torch.rand(len(ids)) < self.id_dropout, UNKNOWN)


def padded_fields(catalogue: Catalogue, user_X: Tensor, item_X: Tensor, history_XL: Tensor) -> dict[str, Tensor]:
    """The ids of every field, (X, any), padded with PAD."""
    return {
        "user": user_X[:, None],
        "item": item_X[:, None],
        "history": history_XL,
        "brand": catalogue.brand_V[item_X][:, None],
        "history_brand": catalogue.brand_V[history_XL],
        "category": catalogue.categories_VC[item_X],
        "history_category": catalogue.categories_VC[history_XL].flatten(1),
    }


def sparse_fields(padded: dict[str, Tensor]) -> KeyedJaggedTensor:
    """The fields without their padding: an empty history is an empty bag."""
    there = [padded[name] != PAD for name in FIELDS]
    values = torch.cat([padded[name][mask] for name, mask in zip(FIELDS, there, strict=True)])
    lengths = torch.cat([mask.sum(dim=1) for mask in there])
    return KeyedJaggedTensor(keys=list(FIELDS), values=values, lengths=lengths)
