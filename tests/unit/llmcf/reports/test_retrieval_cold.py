"""The verdict on cold rows: intervals that lie apart, and what small counts are worth."""

import pytest

from llmcf.reports.measured import Line
from llmcf.reports.retrieval_cold import ABOVE, BELOW, UNDECIDED, Hits, verdict

COLD = "items without training rows"


def part(hits: int, rows: int, low: float, high: float) -> Line:
    return {"rows": rows, "masked": {"hit@10": hits / rows}, "intervals": {"hit@10": [low, high]}}


def measured(*of_seed: Line) -> Hits:
    found = Hits.of({seed: {"segments": {COLD: one}} for seed, one in enumerate(of_seed)}, COLD)
    assert found
    return found


def between(low: float, high: float) -> Hits:
    return Hits({0: (low + high) / 2}, 100, low, high)


@pytest.mark.parametrize(
    ("ours", "said"),
    [
        (between(0.051, 0.09), ABOVE),
        (between(0.05, 0.09), UNDECIDED),  # touches the better one's
        (between(0.02, 0.04), UNDECIDED),  # above popularity alone
        (between(0.021, 0.029), BELOW),  # above popularity, and below text
        (between(0.0, 0.001), BELOW),
    ],
)
def test_what_intervals_say(ours: Hits, said: str) -> None:
    assert verdict(ours, [between(0.0, 0.02), between(0.03, 0.05)]) == said


def test_above_both_is_above_the_wider_interval_too() -> None:
    assert verdict(between(0.06, 0.09), [between(0.0, 0.07), between(0.04, 0.05)]) == UNDECIDED


def test_no_hit_is_no_certainty() -> None:
    """A bootstrap of zeros has no width: four hits of 138 would beat none, which one test in eight gives by chance."""
    none, four = measured(part(0, 138, 0.0, 0.0)), measured(part(4, 138, 1 / 138, 8 / 138))
    assert none.high == pytest.approx(1 - 0.025 ** (1 / 138))
    assert verdict(four, [none, none]) == UNDECIDED
    assert verdict(measured(part(15, 138, 8 / 138, 22 / 138)), [none, none]) == ABOVE
    assert measured(part(5, 5, 1.0, 1.0)).low == pytest.approx(0.025 ** (1 / 5))


def test_the_interval_is_the_wider_one_its_bounds_means_over_seeds() -> None:
    found = measured(part(100, 1000, 0.02, 0.18), part(120, 1000, 0.04, 0.20))
    assert (found.low, found.high) == pytest.approx((0.03, 0.19)), "rows of one user are no more than one"
    assert found.mean == pytest.approx(0.11)


def test_a_segment_without_rows_was_not_measured() -> None:
    assert Hits.of({1: {"segments": {COLD: {"rows": 0}}}, 2: {"segments": {}}}, COLD) is None
