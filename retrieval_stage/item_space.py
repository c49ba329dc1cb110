"""Where items stand in a release's index, so that one inner product with a user's vector is what the run measured.

Under a blend with texts an item's vector goes on with its text: [tower ; text]. Suffixes: X items, D width of the
tower, E width of texts, W of the index: D, or D + E.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemSpace:
    """The space of one run's index.

    Args:
        with_text: whether texts are blended in.
    """

    with_text: bool

    def of(self, item_XD: np.ndarray, text_XE: np.ndarray | None) -> np.ndarray:
        """The index's vectors of items whose vectors in the tower are given, (X, W)."""
        if not self.with_text:
            return item_XD
        assert text_XE is not None, "texts are blended in"
        return np.concatenate([item_XD, text_XE], axis=1)
