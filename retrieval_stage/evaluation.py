"""Where the true next item ranks among the whole catalogue, and what stands at the top instead.

Suffixes: N positives, B rows, V items, D width, K items at the top.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from core import metrics
from core.contracts import FIRST_ID, PAD
from ict.neighbours import Neighbours
from retrieval_stage.sequences import Sequences
from retrieval_stage.user_tower import UserTower

CHUNK = 512  # rows that are scored at a time
_TUNED_ON = 5000  # validation rows at most, evenly over the users

Score = Callable[[Tensor], Tensor]  # indices (B,) -> scores of all items (B, V - FIRST_ID), -inf of those not offered


@dataclass(frozen=True, slots=True)
class Ranked:
    """1-based ranks of the rows' items, (B,) twice, and what is recommended.

    Args:
        masked_B: with the user's earlier items taken out.
        unmasked_B: among all.
        top_BK: the best items that are offered and new to the user, best first; PAD where there are fewer.
    """

    masked_B: Tensor
    unmasked_B: Tensor
    top_BK: Tensor

    def take(self, order_B: Tensor) -> "Ranked":
        return Ranked(self.masked_B[order_B], self.unmasked_B[order_B], self.top_BK[order_B])


def tuning_rows(sequences: Sequences) -> Tensor:
    """The validation rows that a weight is chosen by, from day to day."""
    index_N = sequences.of_split("valid")
    index_B = index_N[:: -(-len(index_N) // _TUNED_ON)]
    return index_B[sequences.day_N[index_B].argsort(stable=True)]


def catalogue_ranks(score: Score, sequences: Sequences, index_B: Tensor) -> tuple[Tensor, Tensor]:
    """1-based ranks of the rows' items, (B,) twice: with the user's earlier items taken out, and among all.

    An item with the same score as the true one counts as better. A true one that is itself among the user's earlier
    items is never recommended where these are taken out: its rank lies beyond the catalogue.
    """
    ranked = ranked_catalogue(score, sequences, index_B, top=0)
    return ranked.masked_B, ranked.unmasked_B


def ranked_catalogue(score: Score, sequences: Sequences, index_B: Tensor, *, top: int) -> Ranked:
    """The same ranks and, out of the same pass, the `top` items of each row; no more than a chunk of rows is scored
    at a time."""
    parts = [_ranked(score(part_B), sequences, part_B, top) for part_B in index_B.split(CHUNK)]
    return Ranked(
        torch.cat([part.masked_B for part in parts]),
        torch.cat([part.unmasked_B for part in parts]),
        torch.cat([part.top_BK for part in parts]),
    )


def _ranked(score_BV: Tensor, sequences: Sequences, index_B: Tensor, top: int) -> Ranked:
    target_B1 = sequences.item_N[index_B, None] - FIRST_ID
    better_BV = score_BV >= score_BV.gather(1, target_B1)
    better_BV.scatter_(1, target_B1, False)
    unmasked_B = better_BV.count_nonzero(dim=1) + 1
    row, item = sequences.seen(index_B)
    better_BV[row, item - FIRST_ID] = False
    masked_B = better_BV.count_nonzero(dim=1) + 1
    masked_B[row[item - FIRST_ID == target_B1[row, 0]]] = score_BV.shape[1] + 1
    if not top:
        return Ranked(masked_B, unmasked_B, torch.empty(len(index_B), 0, dtype=torch.int64))
    unseen_BV = score_BV.index_put((row, item - FIRST_ID), torch.tensor(-torch.inf))
    value_BK, place_BK = unseen_BV.topk(min(top, unseen_BV.shape[1]), dim=1)
    return Ranked(masked_B, unmasked_B, (place_BK + FIRST_ID).masked_fill_(value_BK == -torch.inf, PAD))


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


def metrics_of(score: Score, sequences: Sequences, index_B: Tensor) -> dict[str, dict[str, float]]:
    """HIT@k and NDCG@k of these rows by `masked` and `unmasked`."""
    return summary(*catalogue_ranks(score, sequences, index_B))


def summary(masked_B: Tensor, unmasked_B: Tensor) -> dict[str, dict[str, float]]:
    """HIT@k and NDCG@k by `masked` and `unmasked`."""
    return {
        "masked": metrics.full_ranking(masked_B.numpy()),
        "unmasked": metrics.full_ranking(unmasked_B.numpy()),
    }
