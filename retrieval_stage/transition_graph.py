"""Which items follow which in training rows, as a release keeps it: sparse, dated, in NumPy and SciPy alone.

`controls.Transitions` asks the same of whole splits at once; a test holds both equal.

Suffixes: S items by id as sources, G steps from an item to the next one of the same user, P items that are found.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from safetensors.numpy import load_file, save_file
from scipy.sparse import coo_array, csr_array

if TYPE_CHECKING:
    from retrieval_stage.sequences import Sequences

FILE = "transitions.safetensors"
SECOND_LAST = 0.5  # weight of what follows the user's last item but one; that of the last item is 1
ONE_MORE_STEP = 0.2  # weight of what follows the followers


@dataclass(frozen=True, slots=True, eq=False)
class TransitionGraph:
    """The steps of every source, (G,), laid end to end: those of source s lie from start_S[s] to start_S[s + 1].

    Args:
        item_G: where a step leads; `day_G` when, both in the order of the days within a source.
    """

    start_S: np.ndarray
    item_G: np.ndarray
    day_G: np.ndarray

    @classmethod
    def of(cls, sequences: "Sequences", items: int) -> "TransitionGraph":
        """Of the training rows, over items with ids below `items`."""
        later_G = sequences.steps()
        source_G, item_G, day_G = (
            column.numpy()
            for column in (sequences.item_N[later_G - 1], sequences.item_N[later_G], sequences.day_N[later_G])
        )
        order_G = np.lexsort((day_G, source_G))
        start_S = np.concatenate([[0], np.bincount(source_G, minlength=items).cumsum()])
        return cls(start_S, item_G[order_G], day_G[order_G])

    def save(self, path: Path) -> None:
        save_file({"start": self.start_S, "item": self.item_G, "day": self.day_G}, path)

    @classmethod
    def load(cls, path: Path) -> "TransitionGraph":
        """What `save` wrote."""
        stored = load_file(path)
        return cls(stored["start"], stored["item"], stored["day"])

    def after(self, history_L: np.ndarray, day: int) -> tuple[np.ndarray, np.ndarray]:
        """What follows the last two items of a history: ids, ascending, (P,), and their strengths, all above 0, (P,).

        Steps of days before `day` count, and no others. Strengths are as `controls.Transitions` says.
        """
        strengths = _strengths(self, min(day, int(self.day_G.max(initial=-1)) + 1))
        source, weight = history_L[[-1, -2]], np.array([1.0, SECOND_LAST], dtype=np.float32)
        known = source < len(self)
        ends = coo_array((weight[known], (np.zeros(known.sum(), dtype=np.int64), source[known])), (1, len(self)))
        followers = ends.tocsr() @ strengths
        found = (followers + ONE_MORE_STEP * (followers @ strengths)).tocsr()
        found.sort_indices()
        return found.indices.astype(np.int64), found.data.astype(np.float32)

    def __len__(self) -> int:
        """Ids of items that it may be asked for."""
        return len(self.start_S) - 1


@lru_cache(maxsize=4)
def _strengths(graph: TransitionGraph, day: int) -> csr_array:
    """log1p of how often a step was made before the day, over the largest of its source: (S, S). A server asks for one
    day at a time."""
    source_G = np.repeat(np.arange(len(graph)), np.diff(graph.start_S))
    earlier_G = graph.day_G < day
    ends = source_G[earlier_G], graph.item_G[earlier_G]
    counts = coo_array((np.ones(len(ends[0]), dtype=np.float32), ends), (len(graph), len(graph))).tocsr()
    counts.sum_duplicates()
    counts.data = np.log1p(counts.data)
    strongest_S = counts.max(axis=1).toarray()
    counts.data /= np.repeat(strongest_S, np.diff(counts.indptr))
    return counts
