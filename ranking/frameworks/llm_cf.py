"""LLM-CF (paper section 5): a backbone that takes in w, the in-context module's reading of K examples.

Suffixes: B rows, U distinct examples + 1, X = B + U, K examples a row, F fields, D embedding width, E text width,
W width of w, J dense features.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ict.module import InContext
from ranking.batch import Batch
from ranking.frameworks.plain import Scored, dense_parts
from ranking.layers import FIELDS, Mlp, SparseFields, Standardise, join
from ranking.models.deepfm import DeepFM

_TEXTS = 2  # the item's and the history's, projected
_HIDDEN = 128


class LlmCf(nn.Module):
    """loss = BCE + alpha * reconstruction; w enters the backbone beside the fields."""

    def __init__(self, fields: SparseFields, backbone: DeepFM, dense: Standardise | None, ict: InContext) -> None:
        super().__init__()
        self.fields = fields
        self.backbone = backbone
        self.dense = dense
        self.ict = ict
        width = ict.config.width
        self.representation = Mlp(len(FIELDS) * fields.width + _TEXTS * width, (_HIDDEN,), width)

    def forward(self, batch: Batch) -> Scored:
        shown, rows = batch.context, len(batch.label_B)
        assert shown is not None, "this framework needs in-context examples"
        emb_XFD, first_X = self.fields(batch.sparse)
        text_GW, history_XW = self.ict.text(torch.cat([shown.item_text_GE, shown.history_text_XE])).split(
            [len(shown.item_text_GE), len(shown.history_text_XE)]
        )
        r_XW = self.represent(emb_XFD, F.embedding(shown.item_X, text_GW), history_XW)
        tokens_U3W = self.ict.tokens(r_XW[rows:], shown.cot_UE, shown.label_U)
        w_BW, predict_BKW = self.ict(r_XW[:rows], tokens_U3W, shown.slots_BK, shown.similarity_BK)
        added = torch.zeros(())
        if self.training:
            added = self.ict.config.alpha * self.ict.reconstruction_loss(predict_BKW, shown.slots_BK, shown.cot_UE)
        return Scored(self.score(emb_XFD[:rows], first_X[:rows], w_BW, batch.dense_BJ), added)

    def represent(self, emb_XFD: Tensor, item_text_XW: Tensor, history_text_XW: Tensor) -> Tensor:
        """r, (X, W), from the fields and the projected texts: one encoder for requests and examples."""
        return self.representation(torch.cat([emb_XFD.flatten(1), item_text_XW, history_text_XW], dim=1))

    def score(self, emb_BFD: Tensor, first_B: Tensor, w_BW: Tensor, dense_BJ: Tensor | None) -> Tensor:
        """Return logits, (B,)."""
        return self.backbone(emb_BFD, first_B, join([w_BW, *dense_parts(self.dense, dense_BJ)]))
