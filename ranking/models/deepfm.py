"""DeepFM (arXiv:1703.04247). Suffixes: B batch, F sparse fields, D embedding width, X width of extra features."""

import torch
from torch import Tensor, nn

from ranking.layers import Mlp, pairwise_dot
from ranking.recipes import DeepFmConfig


class DeepFM(nn.Module):
    """logit = first-order weights + pairwise FM + deep tower, over shared embeddings.

    Extra features, such as w of LLM-CF, join the first-order part and the tower, not the FM: they are no fields.
    """

    def __init__(self, fields: int, width: int, extra: int, config: DeepFmConfig) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(()))
        self.extra_weights = nn.Linear(extra, 1, bias=False) if extra else None
        self.tower = Mlp(fields * width + extra, config.tower, 1, config.dropout)

    def forward(self, emb_BFD: Tensor, first_B: Tensor, extra_BX: Tensor | None = None) -> Tensor:
        """Return logits, (B,)."""
        first_B = self.bias + first_B
        deep_BY = emb_BFD.flatten(1)
        if self.extra_weights is not None:
            assert extra_BX is not None, "this model was built for extra features"
            first_B = first_B + self.extra_weights(extra_BX).squeeze(1)
            deep_BY = torch.cat([deep_BY, extra_BX], dim=1)
        return first_B + pairwise_dot(emb_BFD) + self.tower(deep_BY).squeeze(1)
