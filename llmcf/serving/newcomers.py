"""Items that came after a release: known by their facts alone, offered and ranked all the same.

Suffixes: N items, C candidates, E text width, W width of the item index.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from core.contracts import CATEGORIES, PAD, UNKNOWN
from ict.exact import Exact
from llmcf.serving.catalogue import Catalogue
from retrieval_stage.candidates import CandidateSearch
from retrieval_stage.items import NEVER, ItemReplica


@dataclass(frozen=True, slots=True, kw_only=True)
class Newcomers:
    """Items that a release does not have, by row of the vocabulary, ascending.

    Args:
        brand_N, categories_NC: rows of the vocabularies, PAD where there is none.
        text_NE: unit vectors by the release's encoder.
    """

    row_N: np.ndarray
    raw_ids: Sequence[str]
    names: Sequence[str]
    brands: Sequence[str]
    categories: Sequence[Sequence[str]]
    brand_N: np.ndarray
    categories_NC: np.ndarray
    text_NE: np.ndarray

    def __len__(self) -> int:
        return len(self.row_N)

    def among(self, item_C: np.ndarray) -> np.ndarray:
        """Which candidates are newcomers, (C,)."""
        return np.isin(item_C, self.row_N)

    def texts_of(self, item_C: np.ndarray) -> np.ndarray:
        """Text vectors of candidates that are all newcomers, (C, E)."""
        return self.text_NE[np.searchsorted(self.row_N, item_C)]

    def inputs(self, item_C: np.ndarray) -> dict[str, np.ndarray]:
        """What a ranker is told of candidates: newcomers are UNKNOWN, with their brand, categories and text beside."""
        new_C = self.among(item_C)
        found = {
            "item": np.where(new_C, UNKNOWN, item_C),
            "brand": np.full(len(item_C), PAD, dtype=np.int64),
            "categories": np.full((len(item_C), CATEGORIES), PAD, dtype=np.int64),
            "text": np.zeros((len(item_C), self.text_NE.shape[1]), dtype=np.float32),
        }
        at = np.searchsorted(self.row_N, item_C[new_C])
        found["brand"][new_C] = self.brand_N[at]
        found["categories"][new_C] = self.categories_NC[at]
        found["text"][new_C] = self.text_NE[at]
        return found


def listed(names: Catalogue, new: Newcomers) -> Catalogue:
    """A catalogue with the newcomers in it."""
    rows = new.row_N.tolist()
    return replace(
        names,
        item_ids={**names.item_ids, **dict(zip(rows, new.raw_ids, strict=True))},
        names={**names.names, **dict(zip(rows, new.names, strict=True))},
        brands={**names.brands, **dict(zip(rows, new.brands, strict=True))},
        categories={**names.categories, **{row: list(of) for row, of in zip(rows, new.categories, strict=True)}},
        rows={**names.rows, **dict(zip(new.raw_ids, rows, strict=True))},
    )


def searched(search: CandidateSearch, new: Newcomers) -> CandidateSearch:
    """A search that finds the newcomers where their texts put them; as it is, where the run has no map for that."""
    if search.space.text_map is None or not len(new):
        return search
    exact = search.items.exact
    facts = {"categories": new.categories_NC, "first_day": np.full(len(new), NEVER)}
    whole = Exact(
        np.concatenate([exact.ids_N, new.row_N]),
        np.concatenate([exact.vectors_NX, search.space.place(new.text_NE)]),
        {name: _below(values, facts[name]) for name, values in exact.columns.items()},
    )
    order = np.argsort(whole.ids_N, kind="stable")
    sorted_ = Exact(
        whole.ids_N[order], whole.vectors_NX[order], {name: values[order] for name, values in whole.columns.items()}
    )
    return replace(search, items=ItemReplica(search.items.collection, sorted_.for_single_queries()))


def _below(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Rows of a column and more of them; lists are filled up with PAD to the longest of both, as those of a collection
    are no longer than its own longest."""
    if first.ndim == 1:
        return np.concatenate([first, second])
    width = max(first.shape[1], second.shape[1])
    return np.concatenate(
        [np.pad(one, ((0, 0), (0, width - one.shape[1])), constant_values=PAD) for one in (first, second)]
    )
