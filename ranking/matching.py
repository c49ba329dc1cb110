"""A matching score beside the logit: how well user and history meet the item, learnt against many items at once.

A click row has one negative; a softmax over all negatives of a batch ranks each positive against hundreds, which is
what makes sequence models strong.

Suffixes: B rows, P positives among them, N negatives, F fields, D width, L history length, Y numbers of an item.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.contracts import HISTORY as HISTORY_LENGTH
from ranking.layers import HISTORY, TARGET, Positions

_FIELDS = 3  # item, brand, category, of the target and of the history alike


class Matching(nn.Module):
    """score = query(user, history) . key(item) / temperature, of unit vectors.

    The history enters as its mean and, item by item, by a learned weight of each position, newest last.
    """

    def __init__(self, width: int, temperature: float = 0.1) -> None:
        super().__init__()
        self.recency_L = nn.Parameter(torch.linspace(-4, 4, HISTORY_LENGTH))
        self.query = nn.Linear((1 + 2 * _FIELDS) * width, width)
        self.key = nn.Linear(_FIELDS * width, width)
        self.temperature = temperature

    def forward(self, emb_BFD: Tensor, positions: Positions) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries (B, D), keys (B, D), and each row's score (B,)."""
        recent_BY = self.recent(positions)
        parts = [emb_BFD[:, 0], emb_BFD[:, HISTORY].flatten(1), recent_BY]
        query_BD = F.normalize(self.query(torch.cat(parts, dim=1)), dim=1)
        key_BD = F.normalize(self.key(emb_BFD[:, TARGET].flatten(1)), dim=1)
        return query_BD, key_BD, (query_BD * key_BD).sum(dim=1) / self.temperature

    def recent(self, positions: Positions) -> Tensor:
        """The history's items by the weights of their positions, (B, Y); zero for an empty history."""
        there_BL = positions.place_BL > 0
        weight_BL = self.recency_L.exp() * there_BL
        weight_BL = weight_BL / weight_BL.sum(dim=1, keepdim=True).clamp(min=1e-6)
        return torch.einsum("bl,bly->by", weight_BL, F.embedding(positions.place_BL, positions.item_GY))

    def loss(self, query_BD: Tensor, key_BD: Tensor, score_B: Tensor, label_B: Tensor) -> Tensor:
        """Mean cross-entropy of each positive's score against those of its query with all negatives of the batch.

        The negatives are drawn uniformly from the catalogue, as the task's are, so no correction is due. A batch
        without a positive, as a short last one may be, has nothing to match: its loss is zero.
        """
        positive_B = label_B > 0.5
        if not positive_B.any():
            return score_B.sum() * 0.0
        others_PN = query_BD[positive_B] @ key_BD[~positive_B].T / self.temperature
        logits = torch.cat([score_B[positive_B, None], others_PN], dim=1)
        return (torch.logsumexp(logits, dim=1) - logits[:, 0]).mean()
