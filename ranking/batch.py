"""Batches of rows, without a Python loop over them.

Suffixes: B rows of a batch, U distinct examples + 1 (row 0 is "no example"), X rows whose fields are looked up
together (the batch, then the examples, then items of histories), G distinct items, L history length, C categories an
item, K examples, J dense features, E text width, V items, P histories.
"""

from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torchrec import KeyedJaggedTensor

from core.contracts import UNKNOWN
from ict.dropout import drop_examples
from ict.module import distinct
from ranking.bags import Bags, ItemFields
from ranking.rows import Context, Histories, Knowledge, Rows
from ranking.text_match import TextMatch


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

    def to(self, device: torch.device) -> "Batch":
        """The same on a device; batches are made on the CPU."""
        return self if device.type == "cpu" else _moved(self, device)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchBuilder:
    """Makes batches out of row numbers.

    Args:
        context, knowledge, teacher_N: what LLM-CF, KAR and distillation read; the teacher's NaN means "no score".
        text_match, sequence_N: more dense features.
        attends: whether the model reads the items of a history one by one.
        id_dropout: share of training rows whose user, and of those whose item, is shown as UNKNOWN, so that this row
            of the tables is trained and somebody new can be served. The item's brand and categories stay.
        example_dropout: share of training rows without examples.
    """

    rows: Rows
    items: ItemFields
    histories: Histories
    bags: Bags
    context: Context | None = None
    knowledge: Knowledge | None = None
    teacher_N: Tensor | None = None
    text_match: TextMatch | None = None
    sequence_N: Tensor | None = None
    attends: bool = False
    id_dropout: float = 0.0
    example_dropout: float = 0.0

    @classmethod
    def of(
        cls,
        rows: Rows,
        histories: Histories,
        items: ItemFields,
        users: int,
        *,
        context: Context | None = None,
        knowledge: Knowledge | None = None,
        teacher_N: Tensor | None = None,
        text_match: TextMatch | None = None,
        sequence_N: Tensor | None = None,
        attends: bool = False,
        id_dropout: float = 0.0,
        example_dropout: float = 0.0,
    ) -> "BatchBuilder":
        """The bags are made here; `users` counts the rows of the user table."""
        ids = [histories.ids_PL] if context is None else [histories.ids_PL, context.examples.history_ML]
        return cls(
            rows=rows,
            items=items,
            histories=histories,
            bags=Bags.of(items, users, torch.cat(ids)),
            context=context,
            knowledge=knowledge,
            teacher_N=teacher_N,
            text_match=text_match,
            sequence_N=sequence_N,
            attends=attends,
            id_dropout=id_dropout,
            example_dropout=example_dropout,
        )

    def __call__(self, at_B: Tensor, *, training: bool) -> Batch:
        """The batch of rows `at_B`; draws from torch's default generator where `training` drops ids."""
        requests = self.rows.requests
        user_X, item_X, history_X = requests.user_B[at_B], requests.item_B[at_B], self.histories.of_N[at_B]
        nameless = None
        if training and self.id_dropout:
            user_X = user_X.masked_fill(self._drawn(user_X), UNKNOWN)
            nameless = self._drawn(item_X).nonzero().squeeze(1)
        shown = place_BL = None
        if self.context is not None:
            examples_BK = self.context.neighbours.examples_NK[at_B]
            ids_U, slots_BK = distinct(drop_examples(examples_BK, self.example_dropout) if training else examples_BK)
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
            self.bags(user_X, item_X, history_X, nameless),
            self.dense(at_B),
            self.rows.label_N[at_B],
            context=shown,
            knowledge=self._knowledge(self.knowledge, at_B) if self.knowledge else None,
            teacher_B=None if self.teacher_N is None else self.teacher_N[at_B],
            place_BL=place_BL,
        )

    def dense(self, at_B: Tensor) -> Tensor:
        """The dense features of rows, (B, J)."""
        parts = [self.rows.dense_NJ[at_B]]
        if self.text_match is not None:
            parts.append(self.text_match.features_NJ[at_B])
        if self.sequence_N is not None:
            parts.append(self.sequence_N[at_B, None])
        return torch.cat(parts, dim=1)

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

    def _drawn(self, ids: Tensor) -> Tensor:
        return torch.rand(len(ids)) < self.id_dropout


def _texts(vectors_XE: Tensor, of_B: Tensor) -> Texts:
    ids_U, place_B = torch.unique(of_B, return_inverse=True)
    none = int((ids_U < 0).sum())  # sorted: it comes first
    return Texts(vectors_XE[ids_U[none:]], place_B - none)


def _moved(value: Any, device: torch.device) -> Any:
    """A tensor, or what consists of them, on a device."""
    if isinstance(value, Tensor | KeyedJaggedTensor):
        return value.to(device)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{one.name: _moved(getattr(value, one.name), device) for one in fields(value)})
    if isinstance(value, Texts):
        return Texts(*(_moved(part, device) for part in value))
    if isinstance(value, tuple):
        return tuple(_moved(part, device) for part in value)
    return value
