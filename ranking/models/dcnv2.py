"""DCN-V2 (arXiv:2008.13535). Suffixes: B batch, Y all numbers of a row, M experts, R rank."""

import torch
from torch import Tensor, nn

from ranking.configs import DcnV2Config
from ranking.layers import Inputs, Mlp, Widths


class DCNV2(nn.Module):
    """Cross layers of low-rank experts, mixed by a gate, beside a deep tower. Added vectors join the input."""

    def __init__(self, widths: Widths, config: DcnV2Config) -> None:
        super().__init__()
        self.cross = nn.ModuleList(
            Mixture(widths.flat, experts=config.experts, rank=config.rank) for _ in range(config.layers)
        )
        *hidden, last = config.tower
        self.tower = nn.Sequential(Mlp(widths.flat, tuple(hidden), last, config.dropout), nn.ReLU())
        self.score = nn.Linear(widths.flat + last, 1)

    def forward(self, inputs: Inputs) -> Tensor:
        """Return logits, (B,)."""
        x0_BY = x_BY = inputs.flat()
        for layer in self.cross:
            x_BY = layer(x0_BY, x_BY)
        return self.score(torch.cat([x_BY, self.tower(x0_BY)], dim=1)).squeeze(1)


class Mixture(nn.Module):
    """x + sum over experts i of g_i(x) * x0 * (U_i tanh(C_i tanh(V_i' x)) + b)."""

    def __init__(self, width: int, *, experts: int, rank: int) -> None:
        super().__init__()
        self.down_YMR = nn.Parameter(
            nn.init.xavier_normal_(torch.empty(width, experts * rank)).unflatten(1, (-1, rank))
        )
        self.core_MRR = nn.Parameter(
            torch.stack([nn.init.xavier_normal_(torch.empty(rank, rank)) for _ in range(experts)])
        )
        self.up_MRY = nn.Parameter(nn.init.xavier_normal_(torch.empty(experts * rank, width)).unflatten(0, (-1, rank)))
        self.bias_Y = nn.Parameter(torch.zeros(width))
        self.gate = nn.Linear(width, experts, bias=False)

    def forward(self, x0_BY: Tensor, x_BY: Tensor) -> Tensor:
        """Return the crossed input, (B, Y)."""
        low_BMR = torch.tanh((x_BY @ self.down_YMR.flatten(1)).unflatten(1, self.core_MRR.shape[:2]))
        low_BMR = torch.tanh(torch.einsum("bmr,msr->bms", low_BMR, self.core_MRR))
        gate_BM = self.gate(x_BY).softmax(dim=1)
        mixed_BY = (low_BMR * gate_BM.unsqueeze(2)).flatten(1) @ self.up_MRY.flatten(0, 1)
        return x_BY + x0_BY * (mixed_BY + self.bias_Y)  # the gates sum to one, so the bias is theirs too
