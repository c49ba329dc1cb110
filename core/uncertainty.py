"""How sure a metric is: intervals by bootstrap over users, differences of two models, tests over seeds (METHOD 10).

A statistic is a function of one weight a user: the bootstrap draws users with replacement, and a weight says how often
a user was drawn, so a difference of two statistics on the same weights is a paired bootstrap. Suffixes: N rows, U
users.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core import metrics
from core.metrics import Numbers

Floats = NDArray[np.float64]
Statistic = Callable[[Floats], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A metric on all users, and the percentile interval of its bootstrap."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedTest:
    """Two models over the same `n` seeds: mean of first minus second, and two-sided p values of both tests."""

    difference: float
    t_p: float
    wilcoxon_p: float
    n: int


def bootstrap(statistic: Statistic, users: int, *, draws: int = 1000, seed: int = 0, level: float = 0.95) -> Interval:
    """The interval that holds `level` of the statistic's values under resampled users; NaN draws are left out."""
    generator = np.random.default_rng(seed)
    values = np.empty(draws)
    for draw in range(draws):
        weights_U = np.bincount(generator.integers(0, users, users), minlength=users).astype(np.float64)
        values[draw] = statistic(weights_U)
    edges = (1 - level) / 2, (1 + level) / 2
    low, high = np.nanquantile(values, edges) if np.isfinite(values).any() else (np.nan, np.nan)
    return Interval(estimate=statistic(np.ones(users)), low=float(low), high=float(high))


def difference(first: Statistic, second: Statistic) -> Statistic:
    """First minus second on the same users: what a paired bootstrap resamples."""
    return lambda weights_U: first(weights_U) - second(weights_U)


def mean_of(values_N: Numbers, users_N: Numbers) -> tuple[Statistic, int]:
    """The mean of a value a row (a hit, a gain, a row's log loss), and the number of users."""
    _, user_N = np.unique(users_N, return_inverse=True)
    sum_U = np.bincount(user_N, np.asarray(values_N, dtype=np.float64))
    rows_U = np.bincount(user_N).astype(np.float64)
    return lambda weights_U: float(weights_U @ sum_U / (weights_U @ rows_U)), len(rows_U)


def auc_of(labels_N: Numbers, scores_N: Numbers, users_N: Numbers) -> tuple[Statistic, int]:
    """The AUC, ties counting half, and the number of users. Rows are sorted once, not in every draw."""
    users, user_N = np.unique(users_N, return_inverse=True)
    order = np.argsort(scores_N, kind="stable")
    user_N, positive_N = user_N[order], np.asarray(labels_N)[order] > 0
    sorted_N = np.asarray(scores_N)[order]
    starts = np.flatnonzero(np.append(True, sorted_N[1:] != sorted_N[:-1]))

    def statistic(weights_U: Floats) -> float:
        weight_N = weights_U[user_N]
        positive = np.add.reduceat(np.where(positive_N, weight_N, 0), starts)  # of each distinct score
        negative = np.add.reduceat(np.where(positive_N, 0, weight_N), starts)
        below = np.cumsum(negative) - negative / 2
        pairs = positive.sum() * negative.sum()
        return float(positive @ below / pairs) if pairs else float("nan")

    return statistic, len(users)


def logloss_of(labels_N: Numbers, scores_N: Numbers, users_N: Numbers) -> tuple[Statistic, int]:
    """`metrics.logloss` and the number of users."""
    likely_N = np.clip(np.asarray(scores_N, dtype=np.float64), metrics.EDGE, 1 - metrics.EDGE)
    return mean_of(-np.log(np.where(np.asarray(labels_N) > 0, likely_N, 1 - likely_N)), users_N)


def gauc_of(labels_N: Numbers, scores_N: Numbers, users_N: Numbers) -> tuple[Statistic, int]:
    """`metrics.gauc` and the number of users. What is drawn is how often each user's own AUC counts."""
    users, user_N = np.unique(users_N, return_inverse=True)
    own_U, rows_U = metrics.own_auc(labels_N, scores_N, user_N)
    known_U = np.isfinite(own_U)
    sum_U = np.where(known_U, own_U, 0) * rows_U
    rows_U = np.where(known_U, rows_U, 0)

    def statistic(weights_U: Floats) -> float:
        rows = weights_U @ rows_U
        return float(weights_U @ sum_U / rows) if rows else float("nan")

    return statistic, len(users)


def ece_of(labels_N: Numbers, scores_N: Numbers, users_N: Numbers, *, bins: int = 15) -> tuple[Statistic, int]:
    """`metrics.ece` of every draw, and the number of users. The bins are those of all rows.

    Chance moves every bin away from zero, so the draws lie above the estimate by about what it lies above the truth.
    """
    users, user_N = np.unique(users_N, return_inverse=True)
    scores = np.asarray(scores_N, dtype=np.float64)
    bin_N = metrics.equal_mass_bins(scores, bins)
    gap_N = np.asarray(labels_N, dtype=np.float64) - scores

    def statistic(weights_U: Floats) -> float:
        weight_N = weights_U[user_N]
        return float(np.abs(np.bincount(bin_N, weight_N * gap_N, minlength=bins)).sum() / weight_N.sum())

    return statistic, len(users)


def paired_test(first: Sequence[float], second: Sequence[float]) -> PairedTest:
    """Paired t test and Wilcoxon's signed-rank test of two models' values over the same seeds.

    Raises:
        ValueError: if the seeds differ in number, or there are fewer than two.
    """
    from scipy import stats

    if len(first) != len(second) or len(first) < 2:
        raise ValueError(f"a paired test needs two values or more a model; got {len(first)} and {len(second)}")
    gap = np.subtract(first, second)
    if not gap.any():
        return PairedTest(difference=0.0, t_p=1.0, wilcoxon_p=1.0, n=len(gap))
    _, wilcoxon_p = np.asarray(stats.wilcoxon(gap), dtype=np.float64)
    t_p = float(stats.ttest_rel(first, second).pvalue) if np.ptp(gap) else 0.0  # SciPy divides by the spread
    return PairedTest(difference=float(gap.mean()), t_p=t_p, wilcoxon_p=float(wilcoxon_p), n=len(gap))


def equivalence(gaps: Sequence[float], margin: float) -> float:
    """p value of two one-sided t tests (TOST): small if two models, whose paired differences are given, differ by less
    than `margin`.

    Raises:
        ValueError: of fewer than two differences, or for a margin that is not above zero.
    """
    from scipy import stats

    if margin <= 0 or len(gaps) < 2:
        raise ValueError(f"equivalence within {margin} of {len(gaps)} differences cannot be tested")
    room = margin - abs(np.mean(gaps))
    error = np.std(gaps, ddof=1) / np.sqrt(len(gaps))
    return float(stats.t.sf(room / error, len(gaps) - 1)) if error else float(room <= 0)


def mean_interval(values: Sequence[float], *, level: float = 0.95) -> tuple[float, float]:
    """The interval of a mean over seeds by Student's t; NaN of fewer than two."""
    from scipy import stats

    if len(values) < 2:
        return float("nan"), float("nan")
    half = stats.t.ppf((1 + level) / 2, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values))
    return float(np.mean(values) - half), float(np.mean(values) + half)


def over_seeds(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation; the latter is NaN for one value."""
    spread = np.std(values, ddof=1) if len(values) > 1 else np.nan
    return float(np.mean(values)), float(spread)


def holm(p: Sequence[float]) -> list[float]:
    """p values of one family of tests, corrected by Holm's step-down procedure; NaN stays and does not count."""
    order = sorted((value, place) for place, value in enumerate(p) if not np.isnan(value))
    corrected, running = [float("nan")] * len(p), 0.0
    for rank, (value, place) in enumerate(order):
        running = max(running, min(1.0, value * (len(order) - rank)))
        corrected[place] = running
    return corrected
