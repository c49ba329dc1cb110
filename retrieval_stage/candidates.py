"""Candidates of a request: the items with the best sums of the vectors' inner product and the graph's evidence.

NumPy and SciPy alone. Suffixes: W width of the vectors, L history length, P followers, C candidates.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from core.contracts import PAD
from ict.filters import Filter
from retrieval_stage.item_space import ItemSpace
from retrieval_stage.items import ItemReplica
from retrieval_stage.transition_graph import TransitionGraph


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateSearch:
    """The item index with its space and, under a blend with the transition graph, the graph and its weight.

    Text evidence is linear in the item, so it lies in the vectors themselves (`item_space.ItemSpace`).
    """

    items: ItemReplica
    space: ItemSpace
    graph: TransitionGraph | None = None
    weight: float = 0.0

    def search(
        self,
        vector_W: np.ndarray,
        history_L: np.ndarray,
        day: int,
        k: int,
        rule: Filter,
        *,
        also: Sequence[int] = (),
    ) -> tuple[np.ndarray, np.ndarray]:
        """The k best items for one user: ids and scores, (C,), best first, ties by lower id; fewer where fewer may be.

        What is ranked are the k best by inner product and all followers that `rule` lets through. That is exact: the
        graph only adds, so whoever is ahead of an item without evidence by inner product is ahead of it in the sum.

        Args:
            day: of the request; only steps of days before count.
            also: ids that are found whether they are among the k best or not, as far as `rule` lets them through.
        """
        ids_1k, score_1k = self.items.search(vector_W[None], k, [rule])
        found_C = ids_1k[0] != PAD
        item_C, score_C = ids_1k[0][found_C], score_1k[0][found_C]
        if self.graph is None and not also:
            return item_C, score_C
        nobody = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)
        follower_P, strength_P = nobody if self.graph is None else self.graph.after(history_L, day)
        ranked = np.union1d(np.union1d(item_C, follower_P), np.asarray(also, dtype=np.int64))
        item_C, score_C = self.items.exact.scores(vector_W, ranked, rule)
        added_C = np.zeros_like(score_C)
        _, at, of = np.intersect1d(item_C, follower_P, assume_unique=True, return_indices=True)
        added_C[at] = strength_P[of]
        score_C = score_C + np.float32(self.weight) * added_C
        best = np.argsort(-score_C, kind="stable")
        best = np.concatenate([best[:k], best[k:][np.isin(item_C[best[k:]], also)]])
        return item_C[best], score_C[best]
