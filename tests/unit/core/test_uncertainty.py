import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score

from core import metrics
from core.uncertainty import (
    auc_of,
    bootstrap,
    difference,
    ece_of,
    equivalence,
    gauc_of,
    mean_interval,
    mean_of,
    over_seeds,
    paired_test,
)

rows = st.lists(
    st.tuples(st.integers(0, 6), st.integers(0, 1), st.sampled_from([0.1, 0.25, 0.5, 0.9])), min_size=2, max_size=60
)


def columns(drawn):
    return (np.array(column) for column in zip(*drawn, strict=True))


@given(rows, st.integers(0, 99))
def test_the_weighted_auc_is_scikit_learns_ties_included(drawn, seed):
    user, label, score = columns(drawn)
    statistic, users = auc_of(label, score, user)
    weights = np.random.default_rng(seed).integers(0, 4, users).astype(float)
    row_weights = weights[np.unique(user, return_inverse=True)[1]]
    kept = row_weights > 0
    if len(set(label[kept])) == 2:
        expected = roc_auc_score(label[kept], score[kept], sample_weight=row_weights[kept])
        assert statistic(weights) == pytest.approx(expected)
    else:
        assert np.isnan(statistic(weights))
    assert statistic(np.ones(users)) == pytest.approx(metrics.auc(label, score), nan_ok=True)


@given(rows, st.integers(0, 99))
def test_a_weight_counts_a_users_rows_so_often(drawn, seed):
    user, label, score = columns(drawn)
    of_user = np.unique(user, return_inverse=True)[1]
    weights = np.random.default_rng(seed).integers(0, 3, of_user.max() + 1)
    often = np.repeat(np.arange(len(user)), weights[of_user])
    copies = of_user[often] * 10 + np.concatenate([np.arange(n) for n in weights[of_user]] or [[]])
    gauc, users = gauc_of(label, score, user)
    assert users == len(weights)
    expected = metrics.gauc(label[often], score[often], copies) if len(often) else np.nan
    assert gauc(weights.astype(float)) == pytest.approx(expected, nan_ok=True)
    assert gauc(np.ones(users)) == pytest.approx(metrics.gauc(label, score, user), nan_ok=True)
    ece, _ = ece_of(label, score, user)
    assert ece(np.ones(users)) == pytest.approx(metrics.ece(label, score))
    assert ece(2 * np.ones(users)) == pytest.approx(metrics.ece(label, score))


def test_calibration_that_is_off_for_one_user_shows_when_that_user_is_drawn():
    label, score, user = np.array([1, 1, 0, 0]), np.array([0.9, 0.9, 0.4, 0.4]), np.array([0, 0, 1, 1])
    ece, _ = ece_of(label, score, user)
    assert ece(np.array([1.0, 0.0])) == pytest.approx(0.1)
    assert ece(np.array([0.0, 1.0])) == pytest.approx(0.4)
    assert ece(np.array([3.0, 1.0])) == pytest.approx((3 * 0.1 + 0.4) / 4)


def invented(users: int, seed: int = 0):
    generator = np.random.default_rng(seed)
    label = np.tile([1, 0], users)
    return label, label + generator.normal(0, 2, 2 * users), np.repeat(np.arange(users), 2)


def test_an_interval_holds_the_truth_and_shrinks_with_the_users():
    truth = stats.norm.cdf(1 / np.sqrt(8))  # of two normals a unit apart
    widths = []
    for users in (300, 3000):
        found = bootstrap(*auc_of(*invented(users)), draws=300, seed=1)
        assert found.low < found.estimate < found.high
        assert found.low < truth < found.high
        widths.append(found.high - found.low)
    assert widths[0] / widths[1] == pytest.approx(np.sqrt(10), rel=0.3)


def test_a_mean_over_users_agrees_with_the_normal_interval():
    hits = np.random.default_rng(3).random(2000) < 0.2
    hits = hits.astype(float)
    found = bootstrap(*mean_of(hits, np.arange(2000)), draws=500, seed=2)
    half = 1.96 * np.sqrt(hits.mean() * (1 - hits.mean()) / 2000)
    assert found.estimate == hits.mean()
    assert [found.low, found.high] == pytest.approx([hits.mean() - half, hits.mean() + half], abs=0.004)


def test_neither_the_order_of_rows_nor_a_second_run_changes_an_interval():
    label, score, user = invented(200)
    order = np.random.default_rng(5).permutation(len(label))
    first = bootstrap(*auc_of(label, score, user), draws=50, seed=4)
    again = bootstrap(*auc_of(label[order], score[order], user[order]), draws=50, seed=4)
    assert [again.low, again.high, again.estimate] == pytest.approx([first.low, first.high, first.estimate])


def test_a_paired_difference_is_surer_than_two_intervals():
    label, score, user = invented(1000)
    better = score + 0.2 * label
    (one, users), (two, _) = auc_of(label, better, user), auc_of(label, score, user)
    gap = bootstrap(difference(one, two), users, draws=300, seed=6)
    alone = bootstrap(two, users, draws=300, seed=6)
    assert gap.low > 0
    assert gap.high - gap.low < (alone.high - alone.low) / 3
    same = bootstrap(difference(two, two), users, draws=20, seed=6)
    assert (same.low, same.high) == (0, 0)


def test_a_thousand_draws_of_seventy_thousand_rows_take_seconds():
    statistic, users = auc_of(*invented(35_000))
    start = time.perf_counter()
    bootstrap(statistic, users, draws=10)
    assert time.perf_counter() - start < 3  # a hundredth of a thousand draws in five minutes: no quadratic slip


def test_paired_tests_are_scipys():
    first, second = [0.71, 0.73, 0.72, 0.75, 0.74], [0.70, 0.71, 0.72, 0.73, 0.715]
    found = paired_test(first, second)
    assert found.t_p == pytest.approx(stats.ttest_rel(first, second).pvalue)
    assert found.wilcoxon_p == pytest.approx(stats.wilcoxon(np.subtract(first, second))[1])
    assert (found.difference, found.n) == (pytest.approx(0.015), 5)


def test_paired_tests_without_spread_and_without_seeds():
    assert paired_test([1, 2], [1, 2]).t_p == paired_test([1, 2], [1, 2]).wilcoxon_p == 1
    assert paired_test([2, 3], [1, 2]).t_p == 0
    with pytest.raises(ValueError, match="got 1 and 1"):
        paired_test([1], [2])


def test_over_seeds():
    assert over_seeds([1, 2, 3]) == (2, 1)
    assert np.isnan(over_seeds([4])[1])


def test_equivalence_is_the_larger_of_two_one_sided_tests():
    gaps = [0.001, -0.0005, 0.0004, 0.0011, -0.0002]
    sides = [
        stats.ttest_rel(gaps, np.full(5, edge), alternative=way).pvalue
        for edge, way in ((-0.002, "greater"), (0.002, "less"))
    ]
    assert equivalence(gaps, 0.002) == pytest.approx(max(sides))
    assert equivalence(gaps, 0.002) == equivalence([-gap for gap in gaps], 0.002)
    assert equivalence([gap + 0.01 for gap in gaps], 0.002) > 0.99


def test_equivalence_without_spread_and_without_seeds():
    assert (equivalence([0.001, 0.001], 0.002), equivalence([0.002, 0.002], 0.002)) == (0, 1)
    for gaps, margin in (([0.1], 1), ([0.1, 0.2], 0)):
        with pytest.raises(ValueError, match="cannot be tested"):
            equivalence(gaps, margin)


def test_the_interval_of_a_mean_is_scipys():
    values = [0.71, 0.73, 0.72, 0.75, 0.74]
    known = stats.t.interval(0.95, 4, loc=np.mean(values), scale=stats.sem(values))
    assert mean_interval(values) == pytest.approx(known)
    assert np.isnan(mean_interval([1.0])).all()
