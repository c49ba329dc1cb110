"""A model's scores and what speaks for an item without training, added up by weights that validation chooses.

A trained model generalises; which items follow the user's last two, and how near an item's text is to the last one's,
are what it has not room to learn by heart. Items that no training row has are scored by a map of their texts, which
knows nothing of how often they are taken: a constant sets them right against the others. Suffixes: B rows, V items.
"""

from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from core.contracts import FIRST_ID
from retrieval_stage import evaluation
from retrieval_stage.controls import Evidence
from retrieval_stage.evaluation import Score
from retrieval_stage.sequences import Sequences

UNSEEN = "unseen"
WEIGHTS = {
    "graph": (0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0),
    "text": (0.0, 2.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0, 48.0),
    UNSEEN: (0.0, 1.0, 2.0, 3.0, 4.0, 6.0),
}


@dataclass(frozen=True, slots=True)
class Blend:
    """Evidence by name, as `controls.Transitions`, `controls.text` and, for UNSEEN, `unseen_items.evidence` give it."""

    evidence: dict[str, Evidence]

    def scores(self, score: Score, weights: dict[str, float]) -> Score:
        """The sum; items that are not offered stay at -inf."""

        def blended(index_B: Tensor) -> Tensor:
            score_BV = score(index_B)
            for name, weight in weights.items():
                if weight:
                    score_BV.add_(self.evidence[name](index_B), alpha=weight)
            return score_BV

        return blended

    def tuned(self, score: Score, sequences: Sequences) -> dict[str, float]:
        """The weights with the best NDCG@10 on validation rows, seen items taken out; the smaller of equals.

        That of unseen items is chosen after the others: it only moves all of them against the items that were learnt.
        Then the catalogue ends with validation: an unseen item that nobody had taken by then was not there yet, and is
        no reason to hold back those that were.
        """
        index_N = evaluation.tuning_rows(sequences)
        found = self._best(self._grid([name for name in self.evidence if name != UNSEEN]), score, sequences, index_N)
        if UNSEEN not in self.evidence:
            return found
        choices = [found | {UNSEEN: weight} for weight in WEIGHTS[UNSEEN]]
        return self._best(choices, _of_then(score, sequences), sequences, index_N)

    def _best(
        self, choices: list[dict[str, float]], score: Score, sequences: Sequences, index_N: Tensor
    ) -> dict[str, float]:
        gains = torch.zeros(len(choices), dtype=torch.float64)
        for index_B in index_N.split(evaluation.CHUNK):
            parts = {"": score(index_B)} | {name: of(index_B) for name, of in self.evidence.items()}
            for place, weights in enumerate(choices):
                gains[place] += _gain(parts, weights, sequences, index_B)
        return choices[int(gains.argmax())]

    def _grid(self, names: list[str]) -> list[dict[str, float]]:
        chosen = product(*(WEIGHTS[name] for name in names))
        return [dict(zip(names, one, strict=True)) for one in chosen]


def _of_then(score: Score, sequences: Sequences) -> Score:
    """The same of the items that training or validation rows took; -inf of all others."""

    def of_then(index_B: Tensor) -> Tensor:
        score_BV = score(index_B)
        gone_V = torch.ones(score_BV.shape[1], dtype=torch.bool)
        for split in ("train", "valid"):
            gone_V[sequences.item_N[sequences.of_split(split)] - FIRST_ID] = False
        return score_BV.masked_fill_(gone_V, -torch.inf)

    return of_then


def _gain(parts: dict[str, Tensor], weights: dict[str, float], sequences: Sequences, index_B: Tensor) -> float:
    """The sum of these rows' NDCG@10."""
    score_BV = parts[""].clone()
    for name, weight in weights.items():
        score_BV.add_(parts[name], alpha=weight)
    masked_B, _ = evaluation.catalogue_ranks(lambda _: score_BV, sequences, index_B)
    return float((1 / torch.log2(1 + masked_B[masked_B <= 10].double())).sum())
