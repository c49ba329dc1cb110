"""What a filter asks, as a mask and as an expression; that both agree is tests/integration/test_milvus_search.py's."""

from typing import Any

import numpy as np
import pytest

from core.errors import UsageError
from ict.filters import Filter

COLUMNS = {
    "id": np.array([1, 2, 3, 4]),
    "categories": np.array([[2, 0], [2, 3], [0, 0], [4, 0]]),
    "first_day": np.array([10, 20, np.iinfo(np.int64).max, 15]),
    "day": np.array([5, 6, 7, 8]),
    "label": np.array([1, 0, 1, 0]),
    "user": np.array([7, 7, 8, 8]),
    "position": np.array([0, 3, 0, 9]),
}


@pytest.mark.parametrize(
    ("rule", "through", "expression"),
    [
        (Filter(), [1, 1, 1, 1], ""),
        (Filter(allow=[2, 9]), [0, 1, 0, 0], "id in [2, 9]"),
        (Filter(allow=()), [0, 0, 0, 0], "id in []"),
        (Filter(deny=np.array([2, 3])), [1, 0, 0, 1], "id not in [2, 3]"),
        (Filter(categories=[3, 4]), [0, 1, 0, 1], "array_contains_any(categories, [3, 4])"),
        (Filter(categories=[0]), [0, 0, 0, 0], "array_contains_any(categories, [0])"),
        (Filter(categories=()), [0, 0, 0, 0], "array_contains_any(categories, [])"),
        (Filter(on_sale=15), [1, 0, 0, 0], "first_day < 15"),
        (Filter(before=7), [1, 1, 0, 0], "day < 7"),
        (Filter(label=0), [0, 1, 0, 1], "label == 0"),
        (Filter(seen_from=(7, 2)), [1, 0, 1, 1], "(user != 7 or position <= 2)"),
        (Filter(deny=[4], before=8, label=1), [1, 0, 1, 0], "id not in [4] and day < 8 and label == 1"),
    ],
)
def test_each_condition_narrows(rule: Filter, through: list[int], expression: str) -> None:
    assert rule.mask(COLUMNS).tolist() == [bool(one) for one in through]
    assert rule.expression() == expression


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("allow", ["1] or id > 0"]),
        ("deny", ["1"]),
        ("deny", [1.5]),
        ("deny", [True]),
        ("deny", [[1]]),
        ("deny", [2**63]),
        ("categories", [None]),
        ("before", "5 or label == 1"),
        ("before", 5.0),
        ("on_sale", "5"),
        ("label", 2),
        ("label", "1"),
        ("seen_from", (1, "2")),
        ("seen_from", (1,)),
    ],
)
def test_only_whole_numbers_reach_an_expression(name: str, value: Any) -> None:
    with pytest.raises(UsageError, match="filter"):
        Filter(**{name: value})


def test_a_column_that_the_rows_do_not_have_is_named() -> None:
    with pytest.raises(UsageError, match=r"no categories, first_day, which the filter \(array_contains_any.* asks for"):
        Filter(categories=[1], on_sale=3).mask({"id": np.array([1])})
    with pytest.raises(UsageError, match="no categories"):
        Filter(categories=()).mask({"id": np.array([1])})


def test_equal_filters_are_equal_whatever_their_numbers_came_in() -> None:
    assert Filter(deny=np.array([1, 2])) == Filter(deny=[1, 2])
    assert Filter(deny=np.array([], dtype=np.int64)).asks_nothing
    assert not Filter(allow=[]).asks_nothing
