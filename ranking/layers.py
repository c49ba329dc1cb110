"""What rankers share. Suffixes: B rows, F sparse fields, D embedding width, X rows with any fields, W ICT width."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ict.dropout import Dropout

TABLES = ("user", "item", "brand", "category")
# Field by field, the table it is looked up in: a history shares the tables of what it is a history of.
FIELDS = {name: name for name in TABLES} | {f"history_{name}": name for name in TABLES[1:]}
TARGET, HISTORY = slice(1, 4), slice(4, 7)  # places of the item's fields, and of the history's, alike in order
SIDES = 2  # bags of a row and table: of its user and item, of its history

_CONSTANT = 1e-6  # a feature of a smaller deviation has but one value


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Rows of each embedding table, padding and unknown included."""

    user: int
    item: int
    brand: int
    category: int


class Mlp(nn.Sequential):
    """Hidden layers of ReLU and dropout, then a linear output."""

    def __init__(self, width: int, hidden: tuple[int, ...], out: int, dropout: float = 0.0) -> None:
        layers: list[nn.Module] = []
        for size in hidden:
            layers += [nn.Linear(width, size), nn.ReLU()] + ([Dropout(dropout)] if dropout else [])
            width = size
        super().__init__(*layers, nn.Linear(width, out))


class Standardise(nn.Module):
    """(x - mean) / deviation, with the training rows' figures kept as buffers; what was constant there is x - mean."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mean_J: Tensor
        self.scale_J: Tensor
        self.register_buffer("mean_J", torch.zeros(width))
        self.register_buffer("scale_J", torch.ones(width))

    def fit(self, dense_NJ: Tensor) -> None:
        """Take the figures of the training rows, (N, J)."""
        self.mean_J.copy_(dense_NJ.mean(dim=0))
        deviation_J = dense_NJ.std(dim=0)
        self.scale_J.copy_(deviation_J.masked_fill(deviation_J < _CONSTANT, 1.0))

    def forward(self, dense_BJ: Tensor) -> Tensor:
        return (dense_BJ - self.mean_J) / self.scale_J


@dataclass(frozen=True, slots=True, kw_only=True)
class Widths:
    """What a backbone is built for: F fields and V added vectors of width D, J dense features."""

    fields: int
    width: int
    vectors: int = 0
    dense: int = 0

    @property
    def extras(self) -> int:
        """Numbers a row beside the fields."""
        return self.vectors * self.width + self.dense

    @property
    def flat(self) -> int:
        """All numbers a row."""
        return self.fields * self.width + self.extras


@dataclass(frozen=True, slots=True, kw_only=True)
class Positions:
    """The history item by item, for backbones that attend: embeddings (G, Y) of distinct items, places (B, L) among
    them; place 0 is padding."""

    item_GY: Tensor
    place_BL: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What a backbone scores: the fields, their first-order sums, and what a framework or a recipe adds."""

    emb_BFD: Tensor
    first_B: Tensor
    vectors: tuple[Tensor, ...] = ()  # each (B, D): w of LLM-CF, KAR's two
    dense_BJ: Tensor | None = None  # standardised
    positions: Positions | None = None

    def extras(self) -> Tensor | None:
        """The added vectors and the dense features side by side, (B, V * D + J); None if there are none."""
        parts = [*self.vectors, *([] if self.dense_BJ is None else [self.dense_BJ])]
        return torch.cat(parts, dim=1) if parts else None

    def flat(self) -> Tensor:
        """All numbers of a row side by side, (B, F * D + V * D + J)."""
        extras_BX = self.extras()
        emb_BY = self.emb_BFD.flatten(1)
        return emb_BY if extras_BX is None else torch.cat([emb_BY, extras_BX], dim=1)

    def fields(self, scale: Tensor | None = None) -> Tensor:
        """The fields and the added vectors, each as one more field, times `scale` if given, (B, F + V, D)."""
        if not self.vectors:
            return self.emb_BFD
        vectors_BVD = torch.stack(self.vectors, dim=1)
        return torch.cat([self.emb_BFD, vectors_BVD if scale is None else vectors_BVD * scale], dim=1)


class FirstOrder(nn.Module):
    """The linear part of a logit: a bias, the fields' first-order weights, a weight for every other number."""

    def __init__(self, widths: Widths) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(()))
        self.extras = nn.Linear(widths.extras, 1, bias=False) if widths.extras else None

    def forward(self, inputs: Inputs) -> Tensor:
        """Return its share of the logits, (B,)."""
        first_B = self.bias + inputs.first_B
        if self.extras is None:
            return first_B
        extras_BX = inputs.extras()
        assert extras_BX is not None, "this model was built for extra features"
        return first_B + self.extras(extras_BX).squeeze(1)


def pairwise_dot(emb_BFD: Tensor) -> Tensor:
    """Sum of the inner products of all pairs of fields, (B,): half of (sum squared minus squares summed)."""
    return 0.5 * (emb_BFD.sum(dim=1).square() - emb_BFD.square().sum(dim=1)).sum(dim=1)
