"""Each statistic against a value computed by hand, and its properties."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as some

from core import drift
from core.drift import CategoryBins, Cloud, NumberBins

COUNTS = some.arrays(np.int64, 6, elements=st.integers(0, 50)).filter(lambda counts: counts.sum() > 0)


def test_psi_by_hand():
    # shares .5 .3 .2 against .4 .4 .2: (-.1) ln .8 + .1 ln (4/3) + 0
    expected = -0.1 * math.log(0.8) + 0.1 * math.log(4 / 3)
    assert drift.psi(np.array([50, 30, 20]), np.array([4, 4, 2])) == pytest.approx(expected)
    assert expected == pytest.approx(0.0510826, abs=1e-7)


def test_an_empty_bin_counts_as_one_in_ten_thousand():
    # shares 1 and 0 against .9 and .1
    expected = -0.1 * math.log(0.9) + (0.1 - 1e-4) * math.log(0.1 / 1e-4)
    assert drift.psi(np.array([10, 0]), np.array([9, 1])) == pytest.approx(expected)
    assert drift.psi(np.array([10, 0, 0]), np.array([9, 1, 0])) == pytest.approx(expected), "empty in both"


@given(COUNTS, COUNTS)
def test_psi_is_symmetric_not_negative_and_zero_of_the_same(one: np.ndarray, other: np.ndarray):
    assert drift.psi(one, other) == pytest.approx(drift.psi(other, one))
    assert drift.psi(one, other) >= 0
    assert drift.psi(one, one * 3) == pytest.approx(0, abs=1e-12)


def test_psi_of_nothing_is_not_a_number():
    assert math.isnan(drift.psi(np.array([0, 0]), np.array([1, 2])))
    assert math.isnan(drift.psi(np.array([1, 0]), np.array([0, 0])))


def test_chance_explains_an_index_as_often_as_said():
    random = np.random.default_rng(0)
    before = random.multinomial(2000, np.full(10, 0.1), size=3000)
    now = random.multinomial(500, np.full(10, 0.1), size=3000)
    above = [drift.psi(one, other) > drift.psi_by_chance(one, other) for one, other in zip(before, now, strict=True)]
    assert 0 < np.mean(above) < 0.004
    # chi-squared of one degree: its .999 quantile is 10.8276
    assert drift.psi_by_chance(np.array([50, 50]), np.array([10, 40])) == pytest.approx(10.8276 * (0.01 + 0.02), 1e-4)
    assert drift.psi_by_chance(np.array([50]), np.array([10])) == 0


def test_bins_of_numbers_are_tenths_of_the_reference_and_know_what_leaves_its_range():
    bins = NumberBins.of(np.arange(1, 101))
    assert bins.edges[1:] == (10, 20, 30, 40, 50, 60, 70, 80, 90, 100)
    assert bins.edges[0] < 1 < bins.edges[1]
    assert bins.count(np.arange(1, 101)).tolist() == [0, *[10] * 10, 0]
    assert bins.count(np.array([0.5, 1, 10, 10.5, 100, 101])).tolist() == [1, 2, 1, *[0] * 7, 1, 1]
    assert bins.names() == ["< 1", *(f"≤ {edge}" for edge in range(10, 101, 10)), "> 100"]


def test_a_constant_and_many_equal_values():
    assert NumberBins.of(np.zeros(5)).count(np.array([-1.0, 0, 0, 2])).tolist() == [1, 2, 1]
    mostly = NumberBins.of(np.array([0.0] * 95 + [1, 2, 3, 4, 5]))
    assert mostly.names()[0] == "< 0"
    assert mostly.count(np.array([0, 0, 3, 6])).tolist() == [0, 2, 1, 1]


def test_bins_of_categories():
    values = np.array(["a"] * 5 + ["b"] * 3 + ["c"] * 2 + ["d"])
    bins = CategoryBins.of(values, most=2)
    assert bins.frequent == ("a", "b")
    assert bins.count(values).tolist() == [5, 3, 3]
    later = np.array(["a", "b", "d", "x", "x"])
    assert bins.count(later).tolist() == [1, 1, 1], "what is new is in no bin"
    assert bins.strange(later) == pytest.approx(0.4)
    assert bins.strange(values) == 0
    assert bins.names() == ["a", "b", "others"]


def test_bins_are_kept_as_json():
    for bins in (NumberBins.of(np.array([0.1, 0.7, 1.0])), CategoryBins.of(np.array([3, 3, 4, 5]), most=1)):
        assert drift.bins_from_json(drift.bins_as_json(bins)) == bins


@pytest.mark.parametrize("kind", [NumberBins, CategoryBins])
def test_no_values_have_no_bins(kind: type[NumberBins] | type[CategoryBins]):
    with pytest.raises(ValueError, match="a value"):
        kind.of(np.array([]))


def test_a_cloud_by_hand():
    cloud = Cloud.of(np.array([[3.0, 0], [0, 1], [0, 0]], dtype=np.float32))
    assert cloud.count == 2
    assert cloud.norm == 2
    assert cloud.centre == (0.5, 0.5)
    assert cloud.likeness == pytest.approx(math.sqrt(0.5))
    assert sum(cloud.cosines) == 2
    assert np.flatnonzero(cloud.cosines).tolist() == [int((math.sqrt(0.5) + 1) / 0.05)]
    with pytest.raises(ValueError, match="no vector"):
        Cloud.of(np.zeros((2, 3)))


def test_a_shift_by_hand():
    one, other = Cloud.of(np.array([[1.0, 0]])), Cloud.of(np.array([[1.0, 1], [2, 2]]))
    assert drift.centre_shift(one, other) == pytest.approx(1 - math.sqrt(0.5))
    assert drift.centre_shift(one, one) == 0
    both = Cloud.of(np.array([[1.0, 0], [0, 1]]))  # likeness^2 = 1/2, so 4 * .5 * (1/2 + 1/2)
    assert drift.shift_by_chance(both, both) == pytest.approx(2)
    with pytest.raises(ValueError, match="2 and of 3"):
        drift.centre_shift(one, Cloud.of(np.ones((1, 3))))


def test_chance_explains_the_shift_of_two_samples():
    random = np.random.default_rng(1)
    shifts, most = [], []
    for _ in range(50):
        one, other = (Cloud.of(random.standard_normal((200, 16)) + 0.3) for _ in range(2))
        shifts.append(drift.centre_shift(one, other))
        most.append(drift.shift_by_chance(one, other))
    assert all(np.less(shifts, most))
    assert np.mean(shifts) == pytest.approx(np.mean(most) / 4, rel=0.3)


def test_gini_by_hand():
    assert drift.gini([1, 1, 1, 1]) == 0
    assert drift.gini([0, 0, 0, 4]) == pytest.approx(0.75)
    assert drift.gini([1, 3]) == pytest.approx(0.25)  # half the mean difference over the mean: (2 / 2) / (2 * 2)
    assert math.isnan(drift.gini([0, 0]))


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch):
    vectors = np.random.default_rng(2).standard_normal((7, 3)).astype(np.float32)
    whole = Cloud.of(vectors)
    monkeypatch.setattr(drift, "_BLOCK", 2)
    assert Cloud.of(vectors).centre == pytest.approx(whole.centre)
    assert Cloud.of(vectors).cosines == whole.cosines
    with pytest.raises(ValueError, match="no vector"):
        Cloud.of(np.zeros((0, 3)))
