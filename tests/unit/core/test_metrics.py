import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import log_loss, roc_auc_score

from core import metrics

clicks = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 1), st.sampled_from([0.1, 0.25, 0.5, 0.9])), min_size=1, max_size=60
)


def columns(rows):
    return (np.array(column) for column in zip(*rows, strict=True))


def test_auc_counts_a_tie_half():
    # positives 0.5, 0.9; negatives 0.5, 0.1: pairs won 1, 1, 1 and one tie
    assert metrics.auc(np.array([1, 1, 0, 0]), np.array([0.5, 0.9, 0.5, 0.1])) == 3.5 / 4


@given(clicks)
def test_gauc_is_the_weighted_mean_of_the_users_aucs(rows):
    user, label, score = columns(rows)
    mixed = [one for one in set(user) if len(set(label[user == one])) == 2]
    weights = [(user == one).sum() for one in mixed]
    own = [roc_auc_score(label[user == one], score[user == one]) for one in mixed]
    expected = np.average(own, weights=weights) if mixed else float("nan")
    assert metrics.gauc(label, score, user) == pytest.approx(expected, nan_ok=True)


@given(clicks)
def test_gauc_of_one_user_is_auc(rows):
    _, label, score = columns(rows)
    same = np.zeros(len(label), dtype=int)
    assert metrics.gauc(label, score, same) == pytest.approx(metrics.auc(label, score), nan_ok=True)


@given(clicks)
def test_logloss_agrees_with_scikit_learn(rows):
    _, label, score = columns(rows)
    assert metrics.logloss(label, score) == pytest.approx(log_loss(label, score, labels=[0, 1]))


def test_logloss_of_a_certain_mistake_is_finite():
    assert 15 < metrics.logloss(np.array([1]), np.array([0.0])) < 17


def test_rel_impr_is_in_percent_above_chance():
    assert metrics.rel_impr(0.82, 0.81) == pytest.approx(100 * 0.01 / 0.31)
    assert np.isnan(metrics.rel_impr(0.6, 0.5))


def test_full_ranking_by_hand():
    found = metrics.full_ranking(np.array([1, 3, 6, 11]), ks=(5, 10))
    assert found["hit@5"] == 0.5
    assert found["hit@10"] == 0.75
    assert found["ndcg@5"] == pytest.approx((1 + 1 / 2) / 4)
    assert found["ndcg@10"] == pytest.approx((1 + 1 / 2 + 1 / np.log2(7)) / 4)


def test_binary_metrics_names():
    found = metrics.binary_metrics(np.array([1, 0]), np.array([0.9, 0.1]), np.array([2, 2]))
    calibration = pytest.approx(0.1)
    assert found == {"auc": 1.0, "logloss": pytest.approx(-np.log(0.9)), "gauc": 1.0, "ece": calibration}


def test_calibration_by_hand():
    label, score = np.array([0, 1, 1, 1]), np.array([0.2, 0.4, 0.6, 0.8])
    # halves: |(0 + 1) - (0.2 + 0.4)| / 4 + |(1 + 1) - (0.6 + 0.8)| / 4
    assert metrics.ece(label, score, bins=2) == pytest.approx(0.25)
    assert metrics.ece(label, score, bins=2, equal_mass=False) == pytest.approx(0.25)
    assert metrics.ece(label, score, bins=1) == pytest.approx(0.25)


@given(st.sampled_from([4, 10, 20]), st.booleans())
def test_bins_with_their_own_share_of_positives_are_calibrated(rows, equal_mass):
    score = np.repeat([0.25, 0.5, 0.75], 4 * rows)
    label = np.concatenate([np.arange(4 * rows) % 4 < k for k in (1, 2, 3)])
    assert metrics.ece(label, score, equal_mass=equal_mass) == pytest.approx(0, abs=1e-9)
    assert metrics.ece(1 - label, score, equal_mass=equal_mass) == pytest.approx(1 / 3)


def test_equal_scores_share_a_bin():
    """Whatever the order of rows: a constant score is one bin, off by its distance from the share of positives."""
    label = np.random.default_rng(0).permutation(np.arange(100) < 30)
    assert metrics.ece(label, np.full(100, 0.5)) == pytest.approx(0.2)


def test_calibration_error_by_chance_is_reached_once_in_a_hundred():
    random = np.random.default_rng(0)
    scores = random.random(500)
    most = metrics.ece_by_chance(scores)
    drawn = [metrics.ece((random.random(500) < scores).astype(int), scores) for _ in range(400)]
    assert 0 <= np.mean(np.array(drawn) > most) < 0.03
    assert metrics.ece_by_chance(scores) == most, "seeded"
    assert metrics.ece_by_chance(np.array([0.0, 1.0])) == 0


def test_the_error_of_an_auc_is_hanley_and_mcneils():
    # Hanley and McNeil 1982, table II: 58 normal, 51 abnormal, area .893, error .032
    assert metrics.auc_error(np.array([1] * 51 + [0] * 58), 0.893) == pytest.approx(0.032, abs=0.001)
    assert metrics.auc_error(np.array([1, 0]), 1.0) == 0
    assert np.isnan(metrics.auc_error(np.array([1, 1]), 0.5))


def test_reliability_by_hand():
    labels, scores = np.array([0, 1, 1, 1]), np.array([0.1, 0.3, 0.6, 0.8])
    assert metrics.reliability(labels, scores, bins=2) == [
        (pytest.approx(0.2), 0.5, 2),
        (pytest.approx(0.7), 1.0, 2),
    ]
    assert metrics.reliability(labels, np.full(4, 0.5), bins=2) == [(0.5, 0.75, 4)]
