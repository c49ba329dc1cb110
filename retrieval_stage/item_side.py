"""Vectors of items: of their ids, and under some recipes of their text and attributes too.

    item = id [+ P text] [+ mean(brand, categories)]

Suffixes: V items with PAD and UNKNOWN, X any shape of ids, E text width, D width, C categories an item.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.contracts import PAD
from core.data.histories import Attributes, Ints
from retrieval_stage.embeddings import MeanTable


@dataclass(frozen=True, slots=True)
class ItemFacts:
    """What is known of the items beside their ids: text vectors (V, E), and brands and categories, each if read."""

    text_VE: Tensor | None = None
    attributes: Attributes | None = None


class ItemFeatures(nn.Module):
    """The part of an item's vector that does not come from its id. The facts are data, not weights."""

    def __init__(self, facts: ItemFacts | None, width: int, *, text: bool, attributes: bool) -> None:
        super().__init__()
        assert facts is not None, "this configuration reads what is known of items"
        self.text = self.attribute = None
        if text:
            assert facts.text_VE is not None
            self.text = nn.Linear(facts.text_VE.shape[1], width, bias=False)
            self.register_buffer("text_VE", facts.text_VE, persistent=False)
        if attributes:
            assert facts.attributes is not None
            brand_V, category_VC = (torch.from_numpy(ids) for ids in _apart(facts.attributes))
            self.attribute = MeanTable("attribute", torch.cat([brand_V[:, None], category_VC], dim=1), width)

    def forward(self) -> Tensor:
        """(V, D)."""
        parts = []
        if self.text is not None:
            parts.append(self.text(self.get_buffer("text_VE")))
        if self.attribute is not None:
            parts.append(self.attribute())
        return torch.stack(parts).sum(dim=0)


class Items(Protocol):
    """The vectors of all items."""

    @property
    def weight(self) -> Tensor:
        """(V, D); the row of PAD is never read."""
        ...

    def __call__(self, ids: Tensor, /) -> Tensor:
        """The vectors of ids, in a new last dimension, zero at padding."""
        ...


@dataclass(frozen=True, slots=True)
class ItemTable:
    """`Items` that were computed, once for all that a step looks up."""

    weight: Tensor

    def __call__(self, ids: Tensor) -> Tensor:
        """See `Items`."""
        return F.embedding(ids, self.weight) * (ids != PAD).unsqueeze(-1)


def _apart(attributes: Attributes) -> tuple[Ints, Ints]:
    """Brands and categories as ids of one table: categories come after the brands; PAD stays."""
    brands = int(attributes.brand_V.max()) + 1
    categories = attributes.categories_VC
    return attributes.brand_V, (categories + brands) * (categories != PAD)
