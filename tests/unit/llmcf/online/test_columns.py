"""Columns say what rows say, as numbers: the same TTL, the same leading view, the same account."""

import numpy as np
import pytest

from llmcf.online.columns import Columns
from llmcf.online.table import Table
from llmcf.online.views import View
from tests.unit.llmcf.online.test_table import COUNTS, FACTS, Memory, categories, counted, stored

VIEWS = (COUNTS, FACTS)


@pytest.fixture
def memory() -> Memory:
    return Memory()


def columns(memory: Memory) -> Columns:
    return Columns(memory, VIEWS, lead="facts")


@pytest.mark.parametrize("now", [0.0, 110.0, 110.5, 999.0, 1_001.0])
def test_columns_hold_the_numbers_of_the_rows(memory: Memory, now: float) -> None:
    del memory.rows["counts", 4]
    memory.rows["counts", 8] = (100.0, (b"",))  # null
    asked = [2, 77, 4, 2, 8, 9]
    rows = Table(memory, VIEWS, lead="facts", immutable=frozenset(), kept=0).read(asked, now)
    found = columns(memory).at(asked, now)
    assert set(found.values) == {"categories", "count"}, "a title is no number"
    for place, row in enumerate(rows.rows):
        count = row["count"] if row else None
        np.testing.assert_array_equal(found.values["count"][place], np.nan if count is None else count)
        assert found.values["categories"][place].tolist() == (row["categories"] if row else [0, 0])
    assert found.stale == rows.stale


def test_a_row_is_read_once_and_a_missing_one_each_time(memory: Memory) -> None:
    made = columns(memory)
    made.at([1, 77], 105.0)
    memory.asked.clear()
    memory.rows["facts", 77] = memory.rows["facts", 9]
    found = made.at([1, 77, 2, 2], 105.0)
    assert found.values["categories"].tolist() == [[1, 0], [9, 0], [2, 0], [2, 0]]
    assert sorted(memory.asked) == [("counts", [2, 77]), ("facts", [2, 77])]
    memory.asked.clear()
    made.forget()
    made.load([1])
    assert sorted(memory.asked) == [("counts", [1]), ("facts", [1])]
    assert made.at([1], 105.0).values["count"].tolist() == [0.5]


def test_operators_can_count_rows_by_state(memory: Memory) -> None:
    before = {state: counted("counts", state) for state in ("fresh", "stale", "missing")}
    made = columns(memory)
    made.load([1, 2, 3])
    made.at([1, 2, 77], 105.0)
    made.at([1], 500.0)
    assert {state: counted("counts", state) - before[state] for state in before} == {
        "fresh": 2,
        "stale": 1,
        "missing": 1,
    }


def test_what_a_caller_changes_is_not_what_the_next_one_reads(memory: Memory) -> None:
    made = columns(memory)
    for _ in range(2):
        taken = made.at([1], 105.0).values["categories"]
        assert taken.tolist() == [[1, 0]]
        taken += 5


def test_ids_far_beyond_and_none_at_all(memory: Memory) -> None:
    memory.rows["facts", 5_000] = (0.0, (stored(string_val="far"), categories(7, 8)))
    made = columns(memory)
    assert made.at([], 105.0).values == {}
    assert made.at([1, 5_000], 105.0).values["categories"].tolist() == [[1, 0], [7, 8]]
    assert made.at([9_999_999], 105.0).values["categories"].tolist() == [[0, 0]]


def test_the_leading_view_is_among_them(memory: Memory) -> None:
    with pytest.raises(AssertionError, match="does not hold other"):
        Columns(memory, [View("facts", "item", ("title",), ttl=1.0)], lead="other")
