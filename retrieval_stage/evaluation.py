"""Where the true next item ranks among the whole catalogue. Suffixes: N positives, B rows, V items, D width."""

from collections.abc import Callable

import torch
from torch import Tensor

from core import metrics
from core.contracts import FIRST_ID
from ict.neighbours import Neighbours
from retrieval_stage.sequences import Sequences
from retrieval_stage.user_tower import UserTower

_CHUNK = 512

Score = Callable[[Tensor], Tensor]  # indices (B,) -> scores of all items (B, V - FIRST_ID), -inf of those not offered


def catalogue_ranks(score: Score, sequences: Sequences, index_B: Tensor) -> tuple[Tensor, Tensor]:
    """1-based ranks of the rows' items, (B,) twice: with the user's earlier items taken out, and among all.

    An item with the same score as the true one counts as better.
    """
    parts = [_ranks(score(part_B), sequences, part_B) for part_B in index_B.split(_CHUNK)]
    return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])


def _ranks(score_BV: Tensor, sequences: Sequences, index_B: Tensor) -> tuple[Tensor, Tensor]:
    target_B1 = sequences.item_N[index_B, None] - FIRST_ID
    better_BV = score_BV >= score_BV.gather(1, target_B1)
    better_BV.scatter_(1, target_B1, False)
    unmasked_B = better_BV.sum(dim=1) + 1
    row, item = sequences.seen(index_B)
    better_BV[row, item - FIRST_ID] = False
    return better_BV.sum(dim=1) + 1, unmasked_B


def by_tower(tower: UserTower, sequences: Sequences, shown: Neighbours) -> Score:
    """Scores by inner product with the user vector; the tower's examples must be frozen."""

    @torch.no_grad()
    def score(index_B: Tensor) -> Tensor:
        vector_BD = tower(
            sequences.user_N[index_B],
            sequences.history_NL[index_B],
            shown.examples_NK[index_B],
            shown.similarity_NK[index_B],
        )
        return (vector_BD @ tower.item_vectors().T).masked_fill_(~tower.offered_V, -torch.inf)

    return score


def by_popularity(sequences: Sequences, offered_V: Tensor) -> Score:
    """The floor: the same scores for everybody, how often training rows took the item."""
    train_N = sequences.item_N[sequences.of_split("train")]
    taken_V = torch.bincount(train_N, minlength=len(offered_V) + FIRST_ID)[FIRST_ID:].float()
    taken_V[~offered_V] = -torch.inf
    return lambda index_B: taken_V.expand(len(index_B), -1)


def summary(masked_B: Tensor, unmasked_B: Tensor) -> dict[str, dict[str, float]]:
    """HIT@k and NDCG@k by `masked` and `unmasked`."""
    return {
        "masked": metrics.full_ranking(masked_B.numpy()),
        "unmasked": metrics.full_ranking(unmasked_B.numpy()),
    }
