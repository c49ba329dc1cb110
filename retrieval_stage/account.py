"""What is said of a retrieval model, trained or not: how well it ranks, whom and what for, and what it recommends.

Suffixes: N rows of a split, B the same in the order of their days, K items at the top, V items on offer.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from core import metrics, uncertainty
from core.contracts import PAD
from core.segments import COLD, SEGMENTS
from retrieval_stage.evaluation import Ranked, Score, ranked_catalogue, summary
from retrieval_stage.sequences import Sequences
from retrieval_stage.takings import Takings

EVALUATED = ("valid", "test")
TOP = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Of one model; all but `metrics` and `ranks` is of the test rows.

    Args:
        metrics: HIT@k and NDCG@k by split, masked and unmasked.
        intervals: of the masked HIT@10 and NDCG@10, the 95 % interval of a bootstrap over users: low, high.
        segments: rows and metrics, masked and unmasked, of each part of the rows that is not empty; cold ones are
            always there, with intervals where they have rows.
        coverage: the share of the items on offer that are among anybody's ten recommended items.
        mean_popularity: of all recommended items, how often training rows took them before the row's day.
        ranks: every row of both splits with its ranks.
    """

    metrics: dict[str, dict[str, dict[str, float]]]
    intervals: dict[str, list[float]]
    segments: dict[str, dict[str, Any]]
    coverage: float
    mean_popularity: float
    ranks: pa.Table

    def figures(self) -> dict[str, Any]:
        """All but the ranks, in values that JSON has."""
        names = ("metrics", "intervals", "segments", "coverage", "mean_popularity")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, slots=True)
class Evaluator:
    """The rows of a workspace that models are judged on.

    Args:
        facts: `schemas.TRAINING_ROWS`, what was known of each row on its day.
    """

    sequences: Sequences
    takings: Takings
    offered_V: Tensor
    facts: pa.Table

    @classmethod
    def of(cls, rows: pa.Table, sequences: Sequences, offered_V: Tensor) -> "Evaluator":
        return cls(sequences, Takings(sequences, len(offered_V)), offered_V, rows)

    def account(self, score: Score) -> Account:
        """Rank the catalogue for every validation and test row."""
        found = {split: self.ranked(score, split) for split in EVALUATED}
        tables = [self._ranks(split, ranked) for split, ranked in found.items()]
        coverage, mean_popularity = self._recommended(found["test"].top_BK)
        return Account(
            metrics={split: summary(ranked.masked_B, ranked.unmasked_B) for split, ranked in found.items()},
            intervals=intervals(tables[-1]),
            segments=by_segment(tables[-1], self.facts),
            coverage=coverage,
            mean_popularity=mean_popularity,
            ranks=pa.concat_tables(tables),
        )

    def ranked(self, score: Score, split: str) -> Ranked:
        """A split's rows. They are scored day by day, so that what is counted as of a day is counted once."""
        index_N = self.sequences.of_split(split)
        order_B = self.sequences.day_N[index_N].argsort(stable=True)
        ranked = ranked_catalogue(score, self.sequences, index_N[order_B], top=TOP)
        return ranked.take(order_B.argsort())

    def _ranks(self, split: str, ranked: Ranked) -> pa.Table:
        index_N = self.sequences.of_split(split)
        columns = {
            "split": [split] * len(index_N),
            "row": self.facts["row"].to_numpy()[self.sequences.row_N[index_N].numpy()],
            "user": self.sequences.user_N[index_N].numpy(),
            "item": self.sequences.item_N[index_N].numpy(),
            "rank_masked": ranked.masked_B.numpy(),
            "rank_unmasked": ranked.unmasked_B.numpy(),
        }
        return pa.table(columns)

    def _recommended(self, top_NK: Tensor) -> tuple[float, float]:
        """Coverage and mean popularity of the test rows' top items."""
        there_NK = top_NK != PAD
        taken_NK = self.takings.before(top_NK, self.sequences.day_N[self.sequences.of_split("test")])
        distinct = len(torch.unique(top_NK[there_NK]))
        return distinct / int(self.offered_V.sum()), float(taken_NK[there_NK].double().mean())


def by_segment(ranks: pa.Table, rows: pa.Table) -> dict[str, dict[str, Any]]:
    """Rows and metrics of the test rows in each of `core.segments.SEGMENTS` that is not empty, and in each of `COLD`.

    Args:
        ranks: the scores.parquet of a run, or `Account.ranks`.
        rows: the workspace's training rows.
    """
    of_test = ranks.filter(pa.array(ranks["split"].to_numpy() == "test"))
    tested = rows.take(pa.array(np.searchsorted(rows["row"].to_numpy(), of_test["row"].to_numpy())))
    found = {}
    for name, segment in SEGMENTS.items():
        part = of_test.filter(pa.array(segment(tested)))
        if len(part):
            found[name] = _measured(part)
    for name, cold in COLD.items():
        part = of_test.filter(pa.array(cold(tested, rows)))
        found[name] = _measured(part) | {"intervals": intervals(part)} if len(part) else {"rows": 0}
    return found


def _measured(ranks: pa.Table) -> dict[str, Any]:
    seen = {which: ranks[f"rank_{which}"].to_numpy() for which in ("masked", "unmasked")}
    return {"rows": len(ranks), **{which: metrics.full_ranking(rank_N) for which, rank_N in seen.items()}}


def intervals(ranks: pa.Table) -> dict[str, list[float]]:
    """Of the masked HIT@10 and NDCG@10 of these rows, the 95 % interval of a bootstrap over users."""
    rank_N, user_N = ranks["rank_masked"].to_numpy(), ranks["user"].to_numpy()
    hit_N = rank_N <= TOP
    found = {}
    for name, value_N in {"hit@10": hit_N, "ndcg@10": hit_N / np.log2(1 + rank_N)}.items():
        interval = uncertainty.bootstrap(*uncertainty.mean_of(value_N, user_N))
        found[name] = [round(interval.low, 5), round(interval.high, 5)]
    return found
