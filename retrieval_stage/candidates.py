"""Candidates of a request: the items with the best sums of the vectors' inner product and the graph's evidence.

NumPy and SciPy alone. Suffixes: V items of the index, W width of a vector, L history length, P followers, C candidates.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ict.exact import NOTHING, top
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

        Args:
            day: of the request; only steps of days before count.
            also: ids that are found whether they are among the k best or not, as far as `rule` lets them through.

        Raises:
            UsageError: if the index lacks what `rule` asks for.
        """
        exact = self.items.exact
        score_V = exact.scores(vector_W, rule)
        if self.graph is not None:
            follower_P, strength_P = self.graph.after(history_L, day)
            place_P, there_P = exact.places(follower_P)
            score_V[place_P] += np.float32(self.weight) * strength_P[there_P]
        best_C = top(score_V, k)
        if also:
            wanted = np.setdiff1d(exact.places(np.asarray(also, dtype=np.int64))[0], best_C)
            best_C = np.concatenate([best_C, wanted[np.argsort(-score_V[wanted], kind="stable")]])
        best_C = best_C[score_V[best_C] > NOTHING]
        return exact.ids_N[best_C], score_V[best_C]
