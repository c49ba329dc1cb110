"""The exact search: best first, ties by lower id, filters by query, padding."""

import numpy as np
import pytest

from core.contracts import PAD
from ict.exact import Exact
from ict.filters import Filter

IDS = np.array([3, 5, 8, 9])
ROWS = Exact(IDS, np.array([[1.0, 0], [0, 1], [1, 0], [0.5, 0.5]], dtype=np.float32), {"day": np.array([1, 2, 3, 4])})
ACROSS = np.array([[1.0, 0.0], [0.0, 1.0]], dtype=np.float32)


def test_best_first_and_ties_by_lower_id() -> None:
    ids, scores = ROWS.search(ACROSS, 3)
    assert ids.tolist() == [[3, 8, 9], [5, 9, 3]]
    assert scores[0].tolist() == [1.0, 1.0, 0.5]


def test_one_filter_for_all_or_one_for_each() -> None:
    assert ROWS.search(ACROSS, 1, Filter(before=2))[0].tolist() == [[3], [3]]
    assert ROWS.search(ACROSS, 1, [Filter(deny=[3]), Filter()])[0].tolist() == [[8], [5]]


def test_what_is_not_there_is_padding() -> None:
    ids, scores = ROWS.search(ACROSS, 6, Filter(before=3))
    assert ids[0].tolist() == [3, 5, PAD, PAD, PAD, PAD]
    assert np.isneginf(scores[0, 2:]).all()


@pytest.mark.parametrize("k", [1, 7, 50, 400])
def test_the_same_as_sorting_everything(k: int) -> None:
    generator = np.random.default_rng(k)
    vectors = generator.integers(-2, 3, (400, 6)).astype(np.float32)  # many ties
    ids = np.sort(generator.choice(10_000, 400, replace=False)) + 1
    rules = [Filter(deny=generator.choice(ids, count, replace=False)) for count in (0, 10, 390)]
    queries = generator.normal(size=(3, 6)).astype(np.float32).round()
    found, scores = Exact(ids, vectors, {}).search(queries, k, rules)
    for row, rule in enumerate(rules):
        score = np.where(np.isin(ids, rule.deny), -np.inf, queries[row] @ vectors.T)
        order = np.argsort(-score, kind="stable")[:k]
        there = ~np.isneginf(score[order])
        assert found[row][found[row] != PAD].tolist() == ids[order][there].tolist()
        np.testing.assert_array_equal(scores[row][found[row] != PAD], score[order][there])


@pytest.mark.parametrize("rows", [ROWS, ROWS.for_single_queries()])
def test_scores_of_all_rows_are_those_of_the_search(rows: Exact) -> None:
    assert rows.scores(ACROSS[0], Filter(before=4)).tolist() == [1.0, 0.0, 1.0, -np.inf]


def test_places_are_of_the_ids_that_there_are() -> None:
    places, there = ROWS.places(np.array([2, 3, 8, 12]))
    assert (places.tolist(), there.tolist()) == ([0, 2], [1, 2])
    assert [len(one) for one in ROWS.places(np.array([], dtype=np.int64))] == [0, 0]
