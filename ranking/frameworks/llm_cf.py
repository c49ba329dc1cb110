"""LLM-CF (paper section 5): w, the in-context module's reading of K examples, as one more vector beside the fields.

Suffixes: B rows, U distinct examples + 1, X = B + U, K examples a row, F fields, D embedding width, E text width,
W width of w.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ict.config import IctConfig
from ict.decoder import Projection
from ict.module import InContext, Reads, Similarities
from ranking.batch import InContextBatch
from ranking.layers import FIELDS

_TEXTS = 2  # the item's and the history's, projected
_HIDDEN = 128


class LlmCf(nn.Module):
    """The in-context module, and the encoder of the representations that it reads."""

    def __init__(self, config: IctConfig, width: int, text_width: int) -> None:
        super().__init__()
        module = Similarities if config.pooling == "similarities" else InContext
        self.ict: Reads = module(config, width=width, text_width=text_width)
        texts = _TEXTS * width if config.use_text else 0
        self.representation = Projection(len(FIELDS) * width + texts, _HIDDEN, width, config.precision)

    def forward(self, emb_XFD: Tensor, shown: InContextBatch) -> tuple[Tensor, Tensor]:
        """Return w, (B, W), and alpha times the reconstruction loss, 0 when scoring."""
        rows = len(shown.slots_BK)
        r_XW = self.represent(emb_XFD, *self._texts(shown))
        tokens_U3W = self.ict.tokens(r_XW[rows:], shown.cot_UE, shown.label_U)
        w_BW, predict_BKW = self.ict(r_XW[:rows], tokens_U3W, shown.slots_BK, shown.similarity_BK)
        return w_BW, self.ict.added_loss(predict_BKW, shown.slots_BK, shown.cot_UE)

    def represent(self, emb_XFD: Tensor, item_text_XW: Tensor | None, history_text_XW: Tensor | None) -> Tensor:
        """r, (X, W), from the fields and the projected texts: one encoder for requests and examples."""
        texts = [text for text in (item_text_XW, history_text_XW) if text is not None]
        return self.representation(torch.cat([emb_XFD.flatten(1), *texts], dim=1))

    def _texts(self, shown: InContextBatch) -> tuple[Tensor | None, Tensor | None]:
        text_YW, rows = self.ict.texts(shown.text_YE), len(shown.item_X)
        if text_YW is None:
            return None, None
        return F.embedding(shown.item_X, text_YW[rows:]), text_YW[:rows]
