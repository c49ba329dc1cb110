"""The metrics of a release on held-out rows, and their paired differences from another's on the same rows.

Suffixes: N rows, B moments, U users.
"""

from collections.abc import Callable

import numpy as np

from core import uncertainty
from core.uncertainty import Interval, Statistic
from llmcf.gates.answering import TOP, Answers
from llmcf.gates.deciding import LIVE, Figure
from llmcf.serving.thresholds import Thresholds

Drawn = tuple[Statistic, int]


def _auc(told: Answers) -> Drawn:
    return uncertainty.auc_of(told.label_N, told.score_N, told.user_N)


def _gauc(told: Answers) -> Drawn:
    return uncertainty.gauc_of(told.label_N, told.score_N, told.user_N)


def _ece(told: Answers) -> Drawn:
    return uncertainty.ece_of(told.label_N, told.score_N, told.user_N)


def _logloss(told: Answers) -> Drawn:
    return uncertainty.logloss_of(told.label_N, told.score_N, told.user_N)


def _hit(told: Answers) -> Drawn:
    return uncertainty.mean_of((told.rank_B <= TOP).astype(np.float64), told.user_B)


def _ndcg(told: Answers) -> Drawn:
    return uncertainty.mean_of(np.where(told.rank_B <= TOP, 1 / np.log2(1 + told.rank_B), 0.0), told.user_B)


METRICS: dict[str, Callable[[Answers], Drawn]] = {
    "auc": _auc,
    "gauc": _gauc,
    "logloss": _logloss,
    "ece": _ece,
    "hit": _hit,
    "ndcg": _ndcg,
}


def measure(name: str, told: Answers, live: Answers | None, thresholds: Thresholds) -> Figure:
    """A metric with its interval, and with the live release's and their paired difference where there is one.

    Args:
        live: of the same rows in the same order.
    """
    ours = METRICS[name](told)
    note = f"{len(told.rank_B):,} requests" if name in ("hit", "ndcg") else f"{len(told.label_N):,} rows"
    note += f" of {ours[1]:,} users"
    assert live is None or np.array_equal(told.user_N, live.user_N), "both releases answered the same rows"
    return paired(ours, METRICS[name](live) if live else None, thresholds, note=note)


def paired(
    ours: Drawn,
    other: Drawn | None,
    thresholds: Thresholds,
    *,
    note: str,
    beside: tuple[str, str] = LIVE,
) -> Figure:
    """A statistic with its interval, and another of the same units with their paired difference, where there is one."""
    statistic, units = ours
    value = _bootstrap(statistic, units, thresholds)
    if other is None:
        return Figure(value=value.estimate, interval=value, note=note, beside=beside)
    gap = _bootstrap(uncertainty.difference(statistic, other[0]), units, thresholds)
    there = other[0](np.ones(units))
    return Figure(value=value.estimate, interval=value, live=there, gap=gap, note=note, beside=beside)


def timing(
    name: str, taken_R: np.ndarray, live_R: np.ndarray | None, thresholds: Thresholds, *, alone: str = ""
) -> Figure:
    """`p50` or `p99` of milliseconds a request, (R,), and its share of the live release's for the same requests.

    Args:
        alone: why there is no `live_R` although there is a live release.
    """
    share, requests = float(name.removeprefix("p")) / 100, len(taken_R)

    def quantile(of_R: np.ndarray) -> Statistic:
        return lambda times_R: float(np.quantile(np.repeat(of_R, times_R.astype(np.int64)), share))

    ours, note = quantile(taken_R), f"{requests} requests"
    value = _bootstrap(ours, requests, thresholds)
    if live_R is None:
        return Figure(value=value.estimate, interval=value, note="; ".join(filter(None, (note, alone))))
    theirs = quantile(live_R)
    gap = _bootstrap(lambda times_R: ours(times_R) / theirs(times_R) - 1, requests, thresholds)
    live = theirs(np.ones(requests))
    return Figure(value=value.estimate, interval=value, live=live, gap=gap, note=f"{note} to each in turn")


def _bootstrap(statistic: Statistic, count: int, thresholds: Thresholds) -> Interval:
    return uncertainty.bootstrap(statistic, count, draws=thresholds.draws, level=thresholds.level)
