"""Where an item that no training row has stands in the item space: its text vector, mapped (cold start).

The map is a ridge regression of the learnt items' vectors on their texts', so it fits every backbone as it is, and a
release that keeps it places items that come later. Suffixes: V items, X any items, E text width, D width.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from core.contracts import FIRST_ID

FILE = "text_map.safetensors"
_RIDGES = tuple(10 ** (power / 2) for power in range(-4, 7))  # of which generalised cross-validation takes one
_DOUBT = 5.0  # takings at which an item's vector counts half


@dataclass(frozen=True, slots=True)
class TextMap:
    """item = weight . text + bias; weight is (E, D), bias (D,).

    Args:
        learnt_V: which items it was fitted on, the first of them FIRST_ID; all others are to be placed by it.
    """

    weight_ED: np.ndarray
    bias_D: np.ndarray
    learnt_V: np.ndarray

    @classmethod
    def fit(cls, text_VE: np.ndarray, item_VD: np.ndarray, taken_V: np.ndarray) -> "TextMap":
        """From the items that training rows took, `taken_V` times; one that was taken seldom counts less.

        Raises:
            ValueError: if none was.
        """
        from sklearn.linear_model import RidgeCV

        learnt_V = taken_V > 0
        if not learnt_V.any():
            raise ValueError("no item was taken: there is nothing to learn the map from")
        taken_X = taken_V[learnt_V].astype(np.float64)
        found = RidgeCV(alphas=_RIDGES).fit(
            text_VE[learnt_V].astype(np.float64),
            item_VD[learnt_V].astype(np.float64),
            sample_weight=taken_X / (taken_X + _DOUBT),
        )
        weight_DE, bias_D = (np.asarray(part, np.float32) for part in (found.coef_, found.intercept_))
        return cls(np.ascontiguousarray(weight_DE.T), bias_D, learnt_V)

    def __call__(self, text_XE: np.ndarray) -> np.ndarray:
        """Vectors of items, (X, D)."""
        return text_XE.astype(np.float32) @ self.weight_ED + self.bias_D

    def learnt(self, item_X: np.ndarray) -> np.ndarray:
        """Which of these ids it was fitted on, (X,)."""
        place_X = np.minimum(item_X - FIRST_ID, len(self.learnt_V) - 1)
        return (item_X - FIRST_ID == place_X) & self.learnt_V[place_X]

    def save(self, path: Path) -> None:
        save_file({"weight": self.weight_ED, "bias": self.bias_D, "learnt": self.learnt_V}, path)

    @classmethod
    def load(cls, path: Path) -> "TextMap":
        """What `save` wrote."""
        stored = load_file(path)
        return cls(stored["weight"], stored["bias"], stored["learnt"])
