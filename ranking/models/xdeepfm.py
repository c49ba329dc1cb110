"""xDeepFM (arXiv:1803.05170). Suffixes: B batch, F fields (added vectors included), H maps of a layer, D width."""

import torch
from torch import Tensor, nn

from ranking.layers import FirstOrder, Inputs, Mlp, Widths
from ranking.recipes import XDeepFmConfig


class XDeepFM(nn.Module):
    """logit = first-order weights + compressed interaction network (CIN) + deep tower.

    Every added vector is one more field of the CIN.
    """

    def __init__(self, widths: Widths, config: XDeepFmConfig) -> None:
        super().__init__()
        self.first = FirstOrder(widths)
        self.tower = Mlp(widths.flat, config.tower, 1, config.dropout)
        self.cin = Cin(widths.fields + widths.vectors, config.maps)

    def forward(self, inputs: Inputs) -> Tensor:
        """Return logits, (B,)."""
        return self.first(inputs) + self.cin(inputs.fields()) + self.tower(inputs.flat()).squeeze(1)


class Cin(nn.Module):
    """Layer k: x^k_h = sum over i, j of W^k_hij (x^{k-1}_i * x^0_j), element by element; their sums over D are scored.

    All pairs are never formed: for each i, W maps the F fields first.
    """

    def __init__(self, fields: int, maps: tuple[int, ...]) -> None:
        super().__init__()
        before = (fields, *maps[:-1])
        self.weights = nn.ParameterList(
            nn.init.xavier_uniform_(torch.empty(count, last * fields)).reshape(count, last, fields)
            for count, last in zip(maps, before, strict=True)
        )
        self.score = nn.Linear(sum(maps), 1, bias=False)

    def forward(self, emb_BFD: Tensor) -> Tensor:
        """Return logits, (B,)."""
        fields_XF = emb_BFD.transpose(1, 2).flatten(0, 1)  # X = B * D
        last_XH, sums = fields_XF, []
        for weight_HIF in self.weights:
            pairs_XY = (last_XH[:, :, None] * fields_XF[:, None, :]).flatten(1)
            last_XH = pairs_XY @ weight_HIF.flatten(1).T
            sums.append(last_XH.unflatten(0, (-1, emb_BFD.shape[2])).sum(dim=1))
        return self.score(torch.cat(sums, dim=1)).squeeze(1)
