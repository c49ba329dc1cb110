"""No framework: the backbone on its own fields. Suffixes: B rows, F fields, D embedding width, J dense features."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ranking.batch import Batch
from ranking.layers import SparseFields, Standardise, join
from ranking.models.deepfm import DeepFM


class Scored(NamedTuple):
    """What training needs of a batch: logits (B,), and what is added to their loss.

    A tuple, because DistributedDataParallel looks for output tensors in tuples only, and leaves the gradients of every
    process as they are, silently, if it finds none.
    """

    logits_B: Tensor
    added_loss: Tensor


class Plain(nn.Module):
    """A backbone, and under a recipe that reads them the dense as-of features beside its fields."""

    def __init__(self, fields: SparseFields, backbone: DeepFM, dense: Standardise | None) -> None:
        super().__init__()
        self.fields = fields
        self.backbone = backbone
        self.dense = dense

    def forward(self, batch: Batch) -> Scored:
        emb_BFD, first_B = self.fields(batch.sparse)
        return Scored(self.score(emb_BFD, first_B, batch.dense_BJ), torch.zeros(()))

    def score(self, emb_BFD: Tensor, first_B: Tensor, dense_BJ: Tensor | None) -> Tensor:
        """Return logits, (B,); `dense_BJ` is read only by a model with dense features."""
        return self.backbone(emb_BFD, first_B, join(dense_parts(self.dense, dense_BJ)))


def dense_parts(standardise: Standardise | None, dense_BJ: Tensor | None) -> list[Tensor]:
    """The standardised dense features as a list of one, or an empty list where the recipe reads none."""
    if standardise is None:
        return []
    assert dense_BJ is not None, "this model was built for dense features"
    return [standardise(dense_BJ)]
