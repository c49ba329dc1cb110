"""Where items stand in a release's index, so that one inner product with a user's vector is what the run measured.

An item's vector goes on with the evidence that is blended in and linear in the item: [tower ; text ; 1 if training has
not seen it]. A user's goes on with what that is to be multiplied by (`graph`). Suffixes: X items, D width of the tower,
E width of texts, W of the index.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from core.errors import LlmcfError
from retrieval_stage.text_map import TextMap


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemSpace:
    """The space of one run's index.

    Args:
        with_text: whether texts are blended in; `with_unseen` whether unseen items get a constant.
        text_map: what places items that the tower has not learnt, if there is one.
    """

    with_text: bool = False
    with_unseen: bool = False
    text_map: TextMap | None = None

    @classmethod
    def under(cls, blend: Mapping[str, float], text_map: TextMap | None) -> "ItemSpace":
        """That of a blend's weights."""
        return cls(with_text=bool(blend.get("text")), with_unseen=bool(blend.get("unseen")), text_map=text_map)

    def learnt(self, item_XD: np.ndarray, text_XE: np.ndarray | None) -> np.ndarray:
        """The index's vectors of items that stand where the tower learnt them, (X, W)."""
        return self._joined(item_XD, text_XE, unseen=0)

    def place(self, text_XE: np.ndarray) -> np.ndarray:
        """The index's vectors of items that training has not seen, out of their texts' alone, (X, W).

        Args:
            text_XE: unit vectors by the release's encoder.

        Raises:
            LlmcfError: if there is no map.
        """
        if self.text_map is None:
            raise LlmcfError("this release places no item that it has not learnt; those of LLM-CF or recipe best do")
        return self._joined(self.text_map(text_XE), text_XE, unseen=1)

    def with_last_text(self, vector_W: np.ndarray, evidence_E: np.ndarray) -> np.ndarray:
        """A user's vector, (W,), whose texts' evidence is this one: for a last item whose text no graph knows.

        Args:
            evidence_E: the item's text vector times the texts' weight.
        """
        if not self.with_text:
            return vector_W
        end = len(vector_W) - self.with_unseen
        return np.concatenate([vector_W[: end - len(evidence_E)], evidence_E, vector_W[end:]], dtype=np.float32)

    def _joined(self, item_XD: np.ndarray, text_XE: np.ndarray | None, *, unseen: int) -> np.ndarray:
        parts = [item_XD]
        if self.with_text:
            assert text_XE is not None, "texts are blended in"
            parts.append(text_XE)
        if self.with_unseen:
            parts.append(np.full((len(item_XD), 1), unseen))
        return np.concatenate(parts, axis=1, dtype=np.float32)
