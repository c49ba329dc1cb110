"""How well an item's text fits those of a history: cosines of frozen text vectors, as more dense features.

Suffixes: N rows, B of them, V items, E text width, L history length, J features.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from core.contracts import PAD

TEXT_MATCH = ("text_mean", "text_first", "text_second", "text_third", "text_last", "text_before_last")
_NEAREST, _LAST = 3, 2
_ROWS = 4096  # at a time: their histories' vectors are 120 MB


@dataclass(frozen=True, slots=True)
class TextMatch:
    """The features of every row, (N, J), and the vectors that serving makes them of."""

    centred_VE: Tensor
    features_NJ: Tensor

    @classmethod
    def of(cls, item_vectors_VE: Tensor, item_N: Tensor, history_NL: Tensor) -> "TextMatch":
        centred_VE = centred(item_vectors_VE)
        parts = zip(item_N.split(_ROWS), history_NL.split(_ROWS), strict=True)
        return cls(centred_VE, torch.cat([text_match(centred_VE, *part) for part in parts]))


def centre(item_vectors_VE: Tensor) -> Tensor:
    """The mean vector of the items that have a text, (E,): what all titles share."""
    there_V1 = item_vectors_VE.any(dim=1, keepdim=True)
    return item_vectors_VE.sum(dim=0) / there_V1.sum().clamp(min=1)


def centred(vectors_VE: Tensor, mean_E: Tensor | None = None) -> Tensor:
    """Unit vectors around a mean, their own if none is given; items without text stay zero."""
    mean_E = centre(vectors_VE) if mean_E is None else mean_E
    return F.normalize((vectors_VE - mean_E) * vectors_VE.any(dim=1, keepdim=True), dim=1)


def text_match(centred_VE: Tensor, item_B: Tensor, history_BL: Tensor) -> Tensor:
    """`cosines` of items of the catalogue."""
    return cosines(centred_VE, centred_VE[item_B], history_BL)


def cosines(centred_VE: Tensor, item_BE: Tensor, history_BL: Tensor) -> Tensor:
    """The cosines of centred items with the history's items: their mean, the three largest, the last two; (B, J).

    0 stands for what is not there.
    """
    there_BL = history_BL != PAD
    cosine_BL = (centred_VE[history_BL] @ item_BE.unsqueeze(2)).squeeze(2)
    mean_B1 = cosine_BL.sum(dim=1, keepdim=True) / there_BL.sum(dim=1, keepdim=True).clamp(min=1)
    nearest_BX = cosine_BL.masked_fill(~there_BL, -1.0).topk(_NEAREST, dim=1).values
    last_BX = cosine_BL[:, -_LAST:].flip(1)
    return torch.cat([mean_B1, nearest_BX.masked_fill(nearest_BX == -1, 0.0), last_BX], dim=1)
