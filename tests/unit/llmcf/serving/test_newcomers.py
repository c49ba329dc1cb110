"""Items that came after a release: found where their texts put them, told to the ranker by their facts."""

from typing import Any

import numpy as np
import pytest

from core.contracts import CATEGORIES, PAD, UNKNOWN
from ict.exact import Exact
from ict.filters import Filter
from llmcf.serving import newcomers
from llmcf.serving.catalogue import Catalogue
from llmcf.serving.newcomers import Newcomers
from retrieval_stage.candidates import CandidateSearch
from retrieval_stage.item_space import ItemSpace
from retrieval_stage.items import ItemReplica

WIDTH, TEXT = 3, 2
ROWS = np.array([7, 9])
NEW = Newcomers(
    row_N=ROWS,
    raw_ids=["n7", "n9"],
    names=["seven", "nine"],
    brands=["Acme", ""],
    categories=[["tea"], []],
    brand_N=np.array([4, PAD]),
    categories_NC=np.array([[5, *[PAD] * (CATEGORIES - 1)], [PAD] * CATEGORIES]),
    text_NE=np.array([[1, 0], [0, 1]], dtype=np.float32),
)


class Mapped:
    """A map from texts into the tower's space."""

    def __call__(self, text_XE: np.ndarray) -> np.ndarray:
        return np.concatenate([text_XE, np.zeros((len(text_XE), 1))], axis=1).astype(np.float32)


def search(text_map: Any, width: int = CATEGORIES) -> CandidateSearch:
    ids = np.array([2, 3, 8])
    vectors = np.array([[0.5, 0, 0], [0, 0.5, 0], [0, 0, 1]], dtype=np.float32)
    columns = {"categories": np.full((3, width), PAD), "first_day": np.array([1, 2, 3])}
    items = ItemReplica("items_1", Exact(ids, vectors, columns))
    return CandidateSearch(items=items, space=ItemSpace(text_map=text_map))


def best(found: CandidateSearch, vector: list[float], rule: Filter | None = None) -> list[int]:
    ids, _ = found.search(np.array(vector, dtype=np.float32), np.zeros(20, dtype=np.int64), 10, 5, rule or Filter())
    return ids.tolist()


def test_newcomers_are_found_where_their_texts_put_them() -> None:
    found = newcomers.searched(search(Mapped()), NEW)
    assert best(found, [1, 0, 0])[:2] == [7, 2]
    assert best(found, [0, 1, 0])[:2] == [9, 3]
    assert best(found, [0, 1, 0], Filter(deny=[9]))[0] == 3
    assert best(found, [0, 0, 0], Filter(categories=[5])) == [7]
    assert found.items.exact.ids_N.tolist() == [2, 3, 7, 8, 9]


@pytest.mark.parametrize("width", [1, CATEGORIES + 2])
def test_items_of_the_release_may_have_fewer_categories_or_more(width: int) -> None:
    """A collection's lists are as long as its longest."""
    found = newcomers.searched(search(Mapped(), width), NEW)
    assert best(found, [0, 0, 0], Filter(categories=[5])) == [7]
    assert best(found, [0, 1, 0])[:2] == [9, 3]


def test_a_run_without_a_map_finds_what_it_has_learnt() -> None:
    assert best(newcomers.searched(search(None), NEW), [1, 1, 1]) == best(search(None), [1, 1, 1])


def test_the_ranker_is_told_their_facts_and_of_others_nothing_new() -> None:
    told = NEW.inputs(np.array([3, 9, 7, 2]))
    assert told["item"].tolist() == [3, UNKNOWN, UNKNOWN, 2]
    assert told["brand"].tolist() == [PAD, PAD, 4, PAD]
    assert told["categories"][:, 0].tolist() == [PAD, PAD, 5, PAD]
    assert told["text"].tolist() == [[0, 0], [0, 1], [1, 0], [0, 0]]


def test_a_catalogue_names_them_and_keeps_its_own() -> None:
    names = Catalogue(
        item_ids={2: "p2"},
        names={2: "two"},
        brands={2: "B"},
        categories={2: ["x"]},
        rows={"p2": 2},
        category_ids={"x": 6},
    )
    found = newcomers.listed(names, NEW)
    assert found.item_ids == {2: "p2", 7: "n7", 9: "n9"}
    assert found.rows == {"p2": 2, "n7": 7, "n9": 9}
    assert found.categories == {2: ["x"], 7: ["tea"], 9: []}
    assert names.item_ids == {2: "p2"}, "what is served meanwhile stays as it is"


def test_examples_of_both_kinds_keep_their_places() -> None:
    from ict.shown import Shown

    own, other = (Shown(np.full((2, 4), value), np.full((2, 4), value / 10, dtype=np.float32)) for value in (1, 2))
    found = own.interleaved(other, np.array([True, False, False, True]))
    assert found.examples_CK[:, 0].tolist() == [1, 2, 2, 1]
    assert found.similarity_CK[:, 3].tolist() == pytest.approx([0.1, 0.2, 0.2, 0.1])
