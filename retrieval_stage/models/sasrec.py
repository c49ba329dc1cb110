"""SASRec (arXiv:1808.09781). Suffixes: B batch, L history length, D width, H heads, P head width.

A user's recent items, read from left to right by causal self-attention; the state after the newest item is scored
against the item table by inner product (equation 7 with the shared embedding).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.contracts import PAD
from ict.dropout import Dropout
from retrieval_stage.configs import SasRecConfig


class SASRec(nn.Module):
    """Items with learned positions, then blocks of self-attention and a point-wise feed-forward network."""

    causal = True

    def __init__(self, width: int, length: int, config: SasRecConfig) -> None:
        super().__init__()
        self.position_LD = nn.Parameter(torch.randn(length, width) * 0.05)
        self.blocks = nn.ModuleList(AttentionBlock(width, config.heads, config.dropout) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width)
        self.dropout = Dropout(config.dropout)

    def forward(self, item_BLD: Tensor, history_BL: Tensor, user_BD: Tensor) -> Tensor:  # noqa: ARG002 - as of Backbone
        """The state after each position, (B, L, D): what the user may want next."""
        scaled_BLD = item_BLD * item_BLD.shape[-1] ** 0.5
        hidden_BLD = self.dropout(scaled_BLD + self.position_LD[-item_BLD.shape[1] :])
        mask_B1LL = causal_mask(history_BL != PAD)
        for block in self.blocks:
            hidden_BLD = block(hidden_BLD, mask_B1LL)
        return self.norm(hidden_BLD)


class AttentionBlock(nn.Module):
    """x + Dropout(g(LayerNorm(x))) for g = self-attention, then for g = FFN (section III-C)."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.mix = nn.Linear(width, width)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, width), nn.ReLU(), Dropout(dropout), nn.Linear(width, width)
        )
        self.dropout = Dropout(dropout)

    def forward(self, hidden_BLD: Tensor, mask_B1LL: Tensor) -> Tensor:
        qkv_BLX = self.query_key_value(self.attention_norm(hidden_BLD))
        q_BHLP, k_BHLP, v_BHLP = qkv_BLX.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        seen_BHLP = F.scaled_dot_product_attention(q_BHLP, k_BHLP, v_BHLP, attn_mask=mask_B1LL)
        hidden_BLD = hidden_BLD + self.dropout(self.mix(seen_BHLP.transpose(1, 2).flatten(2)))
        return hidden_BLD + self.dropout(self.feed_forward(hidden_BLD))


def causal_mask(there_BL: Tensor) -> Tensor:
    """True where a position may look, (B, 1, L, L): itself, and earlier positions that are not padding."""
    length, device = there_BL.shape[1], there_BL.device
    earlier_LL = torch.ones(length, length, dtype=torch.bool, device=device).tril()
    return (earlier_LL & there_BL[:, None, None, :]) | torch.eye(length, dtype=torch.bool, device=device)
