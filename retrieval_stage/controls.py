"""Scores that nothing was trained for: what a trained model must beat.

All keep the leak rule (METHOD.md section 1): beside its user's history, a row sees interactions of days before its own,
and of these training rows alone, but for `popular_lately`, which sees what a running service would.

Suffixes: B rows, V items (the first is FIRST_ID), X sources, G steps of the graph, P pairs of a source and what
followed it, E text-embedding width.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from core.contracts import FIRST_ID
from ict.examples import history_vectors
from retrieval_stage.evaluation import Score
from retrieval_stage.sequences import Sequences
from retrieval_stage.takings import SPAN, Takings
from retrieval_stage.transition_graph import ONE_MORE_STEP, SECOND_LAST

LATELY = 30  # days
_LEVELS = 4096

Evidence = Callable[[Tensor], Tensor]  # indices (B,) -> what speaks for each item, (B, V), 0 where nothing does


def popularity(sequences: Sequences, takings: Takings, offered_V: Tensor) -> Score:
    """How often training rows took an item before the row's day."""
    return lambda index_B: takings.as_of(sequences.day_N[index_B]).masked_fill_(~offered_V, -torch.inf)


def popular_lately(sequences: Sequences, takings: Takings, offered_V: Tensor) -> Score:
    """The same within the last LATELY days; equals by all days. What an online store shows to strangers
    (`llmcf.online.reader.most_taken_lately`), where `takings` are those of all splits."""

    def score(index_B: Tensor) -> Tensor:
        day_B = sequences.day_N[index_B]
        taken_BV = takings.as_of(day_B)
        recent_BV = taken_BV - takings.as_of(day_B - LATELY)
        share_BV = taken_BV / (1 + taken_BV.amax(dim=1, keepdim=True))
        return recent_BV.add_(share_BV).masked_fill_(~offered_V, -torch.inf)

    return score


def to_strangers(popular: Score, score: Score, sequences: Sequences) -> Score:
    """The second for users with a history, the first for those without."""

    def scored(index_B: Tensor) -> Tensor:
        score_BV = score(index_B)
        stranger_B = sequences.position_N[index_B] == 0
        if stranger_B.any():
            score_BV[stranger_B] = popular(index_B[stranger_B])
        return score_BV

    return scored


def by_evidence(evidence: Evidence, sequences: Sequences, takings: Takings, offered_V: Tensor) -> Score:
    """Items in the order of the evidence, equals in that of their popularity as of the row's day.

    So a row without any evidence is ranked by popularity, and no popularity lifts an item past one that has more
    evidence: evidence is rounded up to whole levels, 1/4096 of the strongest of its row, and popularity adds less
    than one level. Strengths within one level count as equal.
    """

    def score(index_B: Tensor) -> Tensor:
        level_BV = evidence(index_B)
        strongest_B1 = level_BV.abs().amax(dim=1, keepdim=True).clamp_(min=torch.finfo().tiny)
        level_BV = level_BV.div(strongest_B1).mul_(_LEVELS).ceil_()
        share_BV = takings.as_of(sequences.day_N[index_B]).log1p_()
        share_BV.div_(share_BV.amax(dim=1, keepdim=True).clamp_(min=1) * (1 + 1 / _LEVELS))
        return level_BV.add_(share_BV).masked_fill_(~offered_V, -torch.inf)

    return score


def text(sequences: Sequences, item_vectors_VE: Tensor) -> Evidence:
    """Cosine of each item's text with that of the user's last item.

    That finds more of Beauty's validation rows than the mean text of the history does, in every order.

    Args:
        item_vectors_VE: as `ict.examples.text_vectors` reads them, the rows of padding and of unknown items first.
    """
    offered_EV = item_vectors_VE[FIRST_ID:].T

    return lambda index_B: last_text(item_vectors_VE, sequences.history_NL[index_B]) @ offered_EV


def last_text(item_vectors_VE: Tensor, history_BL: Tensor) -> Tensor:
    """The unit vector of the last item's text, (B, E); zero where there is no item or no text of it."""
    return history_vectors(item_vectors_VE, history_BL[:, -1:])


def sum_of(first: Evidence, second: Evidence, weight: float) -> Evidence:
    """The first and `weight` times the second."""
    return lambda index_B: first(index_B).add_(second(index_B), alpha=weight)


class Transitions:
    """What followed the user's last two items in the training rows of anybody before the row's day.

    The idea of TGH (arXiv:2605.07125) without its budgets: a step leads from an item to the next one of the same user,
    both of training rows, and is dated by the later one. An item that c steps lead to from a source has the strength
    log1p(c) / the largest log1p of that source. Strengths from the last item and, with the weight SECOND_LAST, from the
    one before add up, and with the weight ONE_MORE_STEP so do those of what followed the followers, each times the
    strength of the follower.
    """

    def __init__(self, sequences: Sequences, items: int) -> None:
        later_G = sequences.steps()
        self._sequences, self._items = sequences, items
        self._key_G, order_G = (sequences.item_N[later_G - 1] * SPAN + sequences.day_N[later_G]).sort()
        self._place_G = sequences.item_N[later_G][order_G] - FIRST_ID

    def __call__(self, index_B: Tensor) -> Tensor:
        """The evidence for every item, (B, V)."""
        history_BL, day_B = self._sequences.history_NL[index_B], self._sequences.day_N[index_B]
        source_X = torch.cat([history_BL[:, -1], history_BL[:, -2]])
        weight_X = torch.tensor([1.0, SECOND_LAST]).repeat_interleave(len(index_B))
        row_X = torch.arange(len(index_B)).repeat(2)
        row_P, place_P, strength_P = self._follow(row_X, source_X, weight_X, day_B)
        found_BV = torch.zeros(len(index_B), self._items)
        found_BV.view(-1).index_add_(0, row_P * self._items + place_P, strength_P)
        further = self._follow(row_P, place_P + FIRST_ID, ONE_MORE_STEP * strength_P, day_B)
        found_BV.view(-1).index_add_(0, further[0] * self._items + further[1], further[2])
        return found_BV

    def _follow(
        self, row_X: Tensor, source_X: Tensor, weight_X: Tensor, day_B: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Row, place in V and weighted strength of every follower of the sources before the days of their rows."""
        start_X = torch.searchsorted(self._key_G, source_X * SPAN)
        number_X = torch.searchsorted(self._key_G, source_X * SPAN + day_B[row_X]) - start_X
        of_X = torch.repeat_interleave(torch.arange(len(source_X)), number_X)
        within = torch.arange(len(of_X)) - (number_X.cumsum(0) - number_X)[of_X]
        place = self._place_G[start_X[of_X] + within]
        pair_P, count_P = torch.unique(of_X * self._items + place, return_counts=True)
        of_P, place_P = pair_P // self._items, pair_P % self._items
        strength_P = count_P.float().log1p_()
        strongest_X = torch.zeros(len(source_X)).scatter_reduce_(0, of_P, strength_P, "amax")
        return row_X[of_P], place_P, weight_X[of_P] * strength_P / strongest_X[of_P]
