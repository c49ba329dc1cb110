"""KAR (arXiv:2306.10933): what a language model says about a user and an item, as two vectors beside the fields.

Suffixes: B rows, U distinct users or items of a batch, E text width, S experts, H hidden width, D width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ranking.batch import Texts

KINDS = ("user", "item")
_SHARED, _SPECIFIC = 4, 3
_HIDDEN = 64


class Adaptor(nn.Module):
    """Hybrid experts: some shared by both kinds of knowledge, some of one kind only, mixed by a gate of each kind."""

    def __init__(self, text_width: int, width: int) -> None:
        super().__init__()
        self.shared = Experts(_SHARED, text_width, width)
        self.specific = nn.ModuleDict({kind: Experts(_SPECIFIC, text_width, width) for kind in KINDS})
        self.gate = nn.ModuleDict({kind: nn.Linear(text_width, _SHARED + _SPECIFIC) for kind in KINDS})

    def forward(self, kind: str, texts: Texts) -> Tensor:
        """The vector of each row, (B, D); zeros where there is no text."""
        nothing_first_UD = F.pad(self.adapt(kind, texts.vectors_UE), (0, 0, 1, 0))
        return nothing_first_UD[texts.of_B + 1]

    def adapt(self, kind: str, vectors_UE: Tensor) -> Tensor:
        """Return (U, D)."""
        experts_USD = torch.cat([self.shared(vectors_UE), self.specific[kind](vectors_UE)], dim=1)
        weight_US = self.gate[kind](vectors_UE).softmax(dim=1)
        return (experts_USD * weight_US.unsqueeze(2)).sum(dim=1)


class Experts(nn.Module):
    """Several small networks of one shape over one input, as two batched products."""

    def __init__(self, count: int, width: int, out: int) -> None:
        super().__init__()
        self.first = nn.Linear(width, count * _HIDDEN)
        self.second_SHD = nn.Parameter(
            torch.stack([nn.init.xavier_uniform_(torch.empty(_HIDDEN, out)) for _ in range(count)])
        )
        self.bias_SD = nn.Parameter(torch.zeros(count, out))

    def forward(self, vectors_UE: Tensor) -> Tensor:
        """Return (U, S, D)."""
        hidden_USH = torch.relu(self.first(vectors_UE)).unflatten(1, (len(self.second_SHD), -1))
        return torch.einsum("ush,shd->usd", hidden_USH, self.second_SHD) + self.bias_SD
