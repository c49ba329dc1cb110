"""The figures of a check are those of core.metrics, and differences are of the same rows."""

from dataclasses import replace

import numpy as np
import pytest

from core import metrics
from llmcf.gates import figures
from llmcf.gates.answering import Answers
from llmcf.serving.thresholds import Thresholds

LIMITS = Thresholds(draws=100)
USERS = 300


def answers(better: float = 0.0) -> Answers:
    draw = np.random.default_rng(0)
    label_N, user_N = np.tile([1, 0], USERS), np.repeat(np.arange(USERS), 2)
    logit_N = draw.normal(0, 1, 2 * USERS) + (1 + better) * (label_N - 0.5)
    rank_B = np.where(draw.random(USERS) < 0.3 + better / 10, draw.integers(1, 11, USERS), np.inf)
    return Answers(
        label_N=label_N,
        score_N=1 / (1 + np.exp(-logit_N)),
        user_N=user_N,
        rank_B=rank_B,
        user_B=np.arange(USERS),
        found_BK=np.zeros((USERS, 10), dtype=np.int64),
    )


def test_they_are_those_of_the_reports() -> None:
    told = answers()
    binary = metrics.binary_metrics(told.label_N, told.score_N, told.user_N)
    ranking = metrics.full_ranking(np.where(np.isinf(told.rank_B), 1e9, told.rank_B))
    expected = {**binary, "hit": ranking["hit@10"], "ndcg": ranking["ndcg@10"]}
    for name in figures.METRICS:
        found = figures.measure(name, told, None, LIMITS)
        assert found.value == pytest.approx(expected[name]), name
        assert found.interval is not None
        assert found.interval.low < found.interval.high
        assert (found.live, found.gap) == (None, None)


def test_a_gap_is_paired_and_has_the_sign_of_this_release_less_the_live_one() -> None:
    told, live = answers(better=1.0), answers()
    for name in figures.METRICS:
        found, itself = figures.measure(name, told, live, LIMITS), figures.measure(name, told, told, LIMITS)
        assert found.live is not None
        assert found.gap is not None
        assert found.gap.estimate == pytest.approx(found.value - found.live), name
        assert itself.gap is not None
        assert (itself.gap.low, itself.gap.estimate, itself.gap.high) == (0, 0, 0), name
    auc, logloss = (figures.measure(name, told, live, LIMITS).gap for name in ("auc", "logloss"))
    assert auc is not None
    assert logloss is not None
    assert auc.low > 0 > logloss.high


def test_rows_of_other_users_are_never_compared() -> None:
    told = answers()
    with pytest.raises(AssertionError, match="same rows"):
        figures.measure("auc", told, replace(told, user_N=told.user_N[::-1].copy()), LIMITS)


def test_a_timing_is_a_quantile_and_a_share_of_the_live_ones() -> None:
    live_R = np.arange(1.0, 101.0)
    found = figures.timing("p99", 1.5 * live_R, live_R, LIMITS)
    assert found.value == pytest.approx(1.5 * np.quantile(live_R, 0.99))
    assert found.live == pytest.approx(np.quantile(live_R, 0.99))
    assert found.gap is not None
    assert [found.gap.low, found.gap.estimate, found.gap.high] == pytest.approx([0.5, 0.5, 0.5])
    assert figures.timing("p50", live_R, None, LIMITS).gap is None
