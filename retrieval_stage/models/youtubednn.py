"""YoutubeDNN's candidate generation (Covington et al., RecSys 2016, doi 10.1145/2959100.2959190, section 3).

A user's watched items are averaged, joined with what else is known of the user, and taken through layers of rectifiers
to a vector that is scored against the items by inner product. Here the mean is weighted by how long ago an item was,
and what else is known may be who the user is.

Suffixes: B batch, L history length, D width.
"""

from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.contracts import PAD
from ict.dropout import Dropout
from retrieval_stage.configs import YoutubeDnnConfig


class YoutubeDNN(nn.Module):
    """state_t = MLP(sum_j<=t a(t - j) item_j / sum_j<=t a(t - j)), a > 0 learned for each age; the newest has age 0.

    Ages are counted from the position itself, so one product with a lower-triangular matrix pools every prefix of a
    window as if it stood alone.
    """

    causal = True

    def __init__(self, width: int, length: int, config: YoutubeDnnConfig) -> None:
        super().__init__()
        self.reads_user = config.user
        self.log_weight_L = nn.Parameter(torch.zeros(length))  # of each age: the paper's plain mean, to begin with
        sizes = [2 * width if config.user else width, *config.hidden]
        layers: list[nn.Module] = [Dropout(config.dropout)]
        for inputs, outputs in pairwise(sizes):
            layers += [_linear(inputs, outputs, then="relu"), nn.ReLU(), Dropout(config.dropout)]
        self.layers = nn.Sequential(*layers, _linear(sizes[-1], width, then="linear"))

    def forward(self, item_BLD: Tensor, history_BL: Tensor, user_BD: Tensor) -> Tensor:
        """The state after each position, (B, L, D)."""
        input_BLX = self.pool(item_BLD, history_BL != PAD) * item_BLD.shape[-1] ** 0.5
        if self.reads_user:
            input_BLX = torch.cat([input_BLX, user_BD[:, None].expand_as(item_BLD)], dim=-1)
        return self.layers(input_BLX)

    def pool(self, item_BLD: Tensor, there_BL: Tensor) -> Tensor:
        """The weighted mean of what is there up to each position, (B, L, D); zero where there is nothing yet."""
        there_BL1 = there_BL.unsqueeze(2).to(item_BLD.dtype)
        weight_LL = by_age(self.log_weight_L.exp(), item_BLD.shape[1])
        total_BL1 = weight_LL @ there_BL1
        item_BLD = torch.where(there_BL1 > 0, item_BLD, 0.0)
        return weight_LL @ item_BLD / torch.where(total_BL1 > 0, total_BL1, 1.0)


def by_age(weight_A: Tensor, length: int) -> Tensor:
    """Row t, column j: the weight of age t - j, (length, length); zero where j is later than t."""
    place_L = torch.arange(length, device=weight_A.device)
    age_LL = (place_L[:, None] - place_L).clamp(min=0)
    return F.embedding(age_LL, weight_A[:, None]).squeeze(2).tril()  # its gradient repeats bit for bit


def _linear(inputs: int, outputs: int, *, then: Literal["relu", "linear"]) -> nn.Linear:
    """Weights that keep the variance through what comes `then` (He, arXiv:1502.01852), biases of zero."""
    layer = nn.Linear(inputs, outputs)
    nn.init.kaiming_normal_(layer.weight, nonlinearity=then)
    nn.init.zeros_(layer.bias)
    return layer
