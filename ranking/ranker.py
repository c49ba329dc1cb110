"""A ranker: fields, a backbone, and whatever its framework and recipe add. Suffixes: B rows, X = rows, examples, items
of histories, F fields, D width, J dense features."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from core.contracts import DENSE, SEQUENCE
from ranking.batch import Batch
from ranking.configs import RankerConfig
from ranking.embeddings import SparseFields
from ranking.frameworks.kar import KINDS, Adaptor
from ranking.frameworks.kd import distillation_loss
from ranking.frameworks.llm_cf import LlmCf
from ranking.layers import FIELDS, TARGET, Inputs, Positions, Sizes, Standardise, Widths
from ranking.matching import Matching
from ranking.registry import BACKBONES
from ranking.text_match import TEXT_MATCH


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The sizes that come from the data: rows of the tables, width of the text vectors (0 where none are read)."""

    tables: Sizes
    text_width: int = 0


class Scored(NamedTuple):
    """What training needs of a batch: logits (B,), and what is added to their loss.

    A tuple, because DistributedDataParallel looks for output tensors in tuples only, and leaves the gradients of every
    process as they are, silently, if it finds none.
    """

    logits_B: Tensor
    added_loss: Tensor


class Ranker(nn.Module):
    """logits = backbone(fields, vectors that a framework adds, dense features that a recipe reads).

    Args:
        llm_cf: adds w, and its reconstruction loss.
        kar: adds the user's and the item's vector.
        distil: weight of the loss against a teacher; 0 for none.
        matching: adds its score to the dense features, and `softmax` times its loss.
    """

    def __init__(
        self,
        fields: SparseFields,
        backbone: nn.Module,
        dense: Standardise | None,
        *,
        llm_cf: LlmCf | None = None,
        kar: Adaptor | None = None,
        distil: float = 0.0,
        matching: Matching | None = None,
        softmax: float = 0.0,
    ) -> None:
        super().__init__()
        self.fields = fields
        self.backbone = backbone
        self.dense = dense
        self.llm_cf = llm_cf
        self.kar = kar
        self.distil = distil
        self.matching = matching
        self.softmax = softmax

    def forward(self, batch: Batch) -> Scored:
        emb_XFD, first_X = self.fields(batch.sparse)
        rows, examples = len(batch.label_B), 0
        vectors: list[Tensor] = []
        added = torch.zeros(())
        if self.llm_cf is not None:
            assert batch.context is not None, "this framework reads in-context examples"
            examples = len(batch.context.label_U)
            w_BW, added = self.llm_cf(emb_XFD[: rows + examples], batch.context)
            vectors.append(w_BW)
        if self.kar is not None:
            assert batch.knowledge is not None, "this framework reads texts about users and items"
            vectors += [self.kar(kind, texts) for kind, texts in zip(KINDS, batch.knowledge, strict=True)]
        positions = None
        if batch.place_BL is not None:
            item_GY = emb_XFD[rows + examples :, TARGET].flatten(1)
            positions = Positions(item_GY=item_GY, place_BL=batch.place_BL)
        logits_B = self.score(emb_XFD[:rows], first_X[:rows], tuple(vectors), batch.dense_BJ, positions)
        if self.matching is not None and self.training:
            assert positions is not None, "matching reads the items of the history"
            query_BD, key_BD, score_B = self.matching(emb_XFD[:rows], positions)
            added = added + self.softmax * self.matching.loss(query_BD, key_BD, score_B, batch.label_B)
        if self.distil and self.training:
            assert batch.teacher_B is not None, "this framework reads a teacher's scores"
            added = added + self.distil * distillation_loss(logits_B, batch.teacher_B)
        return Scored(logits_B, added)

    def score(
        self,
        emb_BFD: Tensor,
        first_B: Tensor,
        vectors: tuple[Tensor, ...],
        dense_BJ: Tensor | None,
        positions: Positions | None,
    ) -> Tensor:
        """Return logits, (B,); `dense_BJ` is read only by a model with dense features."""
        if self.dense is not None:
            assert dense_BJ is not None, "this model was built for dense features"
            dense_BJ = self.dense(dense_BJ)
        else:
            dense_BJ = None
        if self.matching is not None:
            assert positions is not None, "matching reads the items of the history"
            score_B1 = self.matching(emb_BFD, positions)[2].unsqueeze(1)
            dense_BJ = score_B1 if dense_BJ is None else torch.cat([dense_BJ, score_B1], dim=1)
        inputs = Inputs(emb_BFD=emb_BFD, first_B=first_B, vectors=vectors, dense_BJ=dense_BJ, positions=positions)
        return self.backbone(inputs)


def attends(config: RankerConfig) -> bool:
    """Whether the model reads the items of a history one by one."""
    return BACKBONES[config.model].attends or config.softmax > 0


def dense_features(config: RankerConfig) -> tuple[str, ...]:
    """The names of the dense features that the model reads, in their order."""
    parts = ((DENSE, config.dense), (TEXT_MATCH, config.text_match), ((SEQUENCE,), config.sequence))
    return tuple(name for names, read in parts if read for name in names)


def build(config: RankerConfig, shape: Shape) -> Ranker:
    """A fresh model for a configuration; draws its weights from torch's default generator."""
    vectors = (1 if config.uses_examples else 0) + (len(KINDS) if config.uses_knowledge else 0)
    read = len(dense_features(config))
    dense = read + (1 if config.softmax else 0)
    widths = Widths(fields=len(FIELDS), width=config.width, vectors=vectors, dense=dense)
    return Ranker(
        SparseFields(shape.tables, config.width),
        BACKBONES[config.model].module(widths, config.backbone),
        Standardise(read) if read else None,
        llm_cf=LlmCf(config.in_context, config.width, shape.text_width) if config.uses_examples else None,
        kar=Adaptor(shape.text_width, config.width) if config.uses_knowledge else None,
        distil=config.distil if config.uses_teacher else 0.0,
        matching=Matching(config.width) if config.softmax else None,
        softmax=config.softmax,
    )
