"""When an answer is right."""

import pytest

from benchmarks.expected import Ranked, _difference
from benchmarks.load import Answer

RIGHT = Ranked(
    ["a", "b", "c"],
    {"a": 0.9, "b": 0.50001, "c": 0.5, "d": 0.4, "e": 0.5},
    {"a": 9, "b": 1.0001, "c": 1, "d": 0.5, "e": 0.7},
)
POPULAR = Ranked(["a", "b"], None, {"a": 1, "b": 0.5})


def answer(items: str, scores: list[float] | None) -> Answer:
    return Answer("u", 1, "full", list(items), scores)


@pytest.mark.parametrize(
    ("items", "scores", "right"),
    [
        ("abc", [0.9, 0.5, 0.5], True),
        ("acb", [0.9, 0.5, 0.5], True),  # closer than rounding
        ("abd", [0.9, 0.5, 0.4], False),
        ("abd", [0.9, 0.5, 0.5], False),  # with another's score
        ("abe", [0.9, 0.5, 0.5], False),  # with the same score, which the search puts behind
        ("bac", [0.5, 0.9, 0.5], False),
        ("ab", [0.9, 0.5], False),
        ("aab", [0.9, 0.9, 0.5], False),
        ("abx", [0.9, 0.5, 0.5], False),
        ("abc", None, False),
    ],
)
def test_scores_and_places(items: str, scores: list[float] | None, right: bool) -> None:
    assert (_difference(answer(items, scores), RIGHT) == "") == right


def test_what_no_model_scored_has_its_order() -> None:
    assert _difference(answer("ab", None), POPULAR) == ""
    assert _difference(answer("ba", None), POPULAR)
    assert _difference(answer("ab", [0.5, 0.4]), POPULAR)
