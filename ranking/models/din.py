"""DIN (arXiv:1706.06978).

Suffixes: B batch, L history length, G distinct items of the histories, F fields, D width, Y numbers of a target (item,
brand, categories), X hidden.
"""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ranking.configs import DinConfig
from ranking.layers import HISTORY, TARGET, Inputs, Mlp, Widths

_TARGET = TARGET.stop - TARGET.start  # fields


class DIN(nn.Module):
    """The history's fields are pooled by what each of its items is to the target, then a deep tower scores all.

    Weights are not normalised, as published: their sum says how strongly the history speaks. Added vectors join the
    tower's input.
    """

    def __init__(self, widths: Widths, config: DinConfig) -> None:
        super().__init__()
        self.weigh = Mlp(4 * _TARGET * widths.width, config.attention, 1)
        self.tower = Mlp(widths.flat, config.tower, 1, config.dropout)

    def forward(self, inputs: Inputs) -> Tensor:
        """Return logits, (B,)."""
        positions = inputs.positions
        assert positions is not None, "this backbone attends to the items of the history"
        target_BY = inputs.emb_BFD[:, TARGET].flatten(1)
        there = positions.place_BL > 0
        pooled_BY = self.pool(target_BY, positions.item_GY, positions.place_BL, there)
        pooled_BFD = pooled_BY.unflatten(1, (_TARGET, -1))
        emb_BFD = torch.cat([inputs.emb_BFD[:, : HISTORY.start], pooled_BFD], dim=1)
        return self.tower(replace(inputs, emb_BFD=emb_BFD).flat()).squeeze(1)

    def pool(self, target_BY: Tensor, item_GY: Tensor, place_BL: Tensor, there_BL: Tensor) -> Tensor:
        """The weighted sum of the history's items, (B, Y).

        The first layer reads [t, h, t - h, t * h]; its parts for t and h alone are linear, so they are taken once for
        each target and each distinct item.
        """
        first = self.weigh[0]
        assert isinstance(first, nn.Linear)
        of_t, of_h, of_gap, of_product = first.weight.chunk(4, dim=1)
        history_BLY = F.embedding(place_BL, item_GY)
        from_item_BLX = F.embedding(place_BL, item_GY @ (of_h - of_gap).T)
        from_target_BX = F.linear(target_BY, of_t + of_gap, first.bias)
        product_BLX = (history_BLY * target_BY[:, None]) @ of_product.T
        hidden_BLX = product_BLX + from_item_BLX + from_target_BX[:, None]
        for layer in list(self.weigh)[1:]:
            hidden_BLX = layer(hidden_BLX)
        return torch.einsum("bl,bly->by", hidden_BLX.squeeze(2) * there_BL, history_BLY)
