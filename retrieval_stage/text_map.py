"""Where an item that no training row has stands in the item space: its text vector, mapped (cold start).

The map is a ridge regression of the learnt items' vectors on their texts', so it fits every backbone as it is, and a
release that keeps it places items that come later. Suffixes: V items, X any items, E text width, D width.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

_RIDGES = tuple(10 ** (power / 2) for power in range(-4, 7))  # of which generalised cross-validation takes one
_DOUBT = 5.0  # takings at which an item's vector counts half


@dataclass(frozen=True, slots=True)
class TextMap:
    """item = weight . text + bias; weight is (E, D), bias (D,)."""

    weight_ED: Tensor
    bias_D: Tensor

    @classmethod
    def fit(cls, text_VE: Tensor, item_VD: Tensor, taken_V: Tensor) -> "TextMap":
        """From the items that training rows took, `taken_V` times; one that was taken seldom counts less.

        Raises:
            ValueError: if none was.
        """
        from sklearn.linear_model import RidgeCV

        learnt_V = taken_V > 0
        if not learnt_V.any():
            raise ValueError("no item was taken: there is nothing to learn the map from")
        taken_X = taken_V[learnt_V].double()
        found = RidgeCV(alphas=_RIDGES).fit(
            text_VE[learnt_V].double().numpy(),
            item_VD[learnt_V].detach().double().numpy(),
            sample_weight=(taken_X / (taken_X + _DOUBT)).numpy(),
        )
        weight_DE, bias_D = (torch.from_numpy(np.asarray(part, np.float32)) for part in (found.coef_, found.intercept_))
        return cls(weight_DE.T.contiguous(), bias_D)

    def __call__(self, text_XE: Tensor) -> Tensor:
        """Vectors of items, (X, D)."""
        return text_XE @ self.weight_ED + self.bias_D
