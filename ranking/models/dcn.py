"""DCN (arXiv:1708.05123). Suffixes: B batch, Y all numbers of a row."""

import torch
from torch import Tensor, nn

from ranking.configs import DcnConfig
from ranking.layers import Inputs, Mlp, Widths


class DCN(nn.Module):
    """Cross layers beside a deep tower, then one linear layer. Added vectors join the input."""

    def __init__(self, widths: Widths, config: DcnConfig) -> None:
        super().__init__()
        self.cross = nn.ModuleList(nn.Linear(widths.flat, 1, bias=False) for _ in range(config.layers))
        self.bias_XY = nn.Parameter(torch.zeros(config.layers, widths.flat))
        *hidden, last = config.tower
        self.tower = nn.Sequential(Mlp(widths.flat, tuple(hidden), last, config.dropout), nn.ReLU())
        self.score = nn.Linear(widths.flat + last, 1)

    def forward(self, inputs: Inputs) -> Tensor:
        """Return logits, (B,)."""
        x0_BY = x_BY = inputs.flat()
        for layer, bias_Y in zip(self.cross, self.bias_XY, strict=True):
            x_BY = x0_BY * layer(x_BY) + bias_Y + x_BY
        return self.score(torch.cat([x_BY, self.tower(x0_BY)], dim=1)).squeeze(1)
