"""AutoInt (arXiv:1810.11921). Suffixes: B batch, F fields (added vectors included), D width, H heads, P head width."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ranking.configs import AutoIntConfig
from ranking.layers import FirstOrder, Inputs, Mlp, Widths


class AutoInt(nn.Module):
    """logit = first-order weights + attention of the fields to each other + deep tower (the paper's AutoInt+).

    Every added vector is one more field.
    """

    def __init__(self, widths: Widths, config: AutoIntConfig) -> None:
        super().__init__()
        self.first = FirstOrder(widths)
        self.tower = Mlp(widths.flat, config.tower, 1, config.dropout)
        layers = [widths.width] + [config.attention] * config.layers
        self.attention = nn.Sequential(
            *(Interaction(before, config.attention, config.heads) for before in layers[: config.layers])
        )
        self.score = nn.Linear((widths.fields + widths.vectors) * config.attention, 1, bias=False)

    def forward(self, inputs: Inputs) -> Tensor:
        """Return logits, (B,)."""
        mixed_BFD = self.attention(inputs.fields())
        deep_B = self.tower(inputs.flat()).squeeze(1)
        return self.first(inputs) + self.score(mixed_BFD.flatten(1)).squeeze(1) + deep_B


class Interaction(nn.Module):
    """Multi-head self-attention over the fields, with a projected residual and a ReLU. `width` is of all heads."""

    def __init__(self, before: int, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query_key_value = nn.Linear(before, 3 * width, bias=False)
        self.residual = nn.Linear(before, width, bias=False)

    def forward(self, emb_BFD: Tensor) -> Tensor:
        """Return the mixed fields, (B, F, width)."""
        q, k, v = self.query_key_value(emb_BFD).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed_BHFP = F.scaled_dot_product_attention(q, k, v)
        return torch.relu(mixed_BHFP.transpose(1, 2).flatten(2) + self.residual(emb_BFD))
