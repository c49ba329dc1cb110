"""Every number that a report compares (METHOD.md section 10). Suffixes: N rows, R ranked requests."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

EDGE = float(np.finfo(np.float32).eps)  # of probabilities
Numbers = NDArray[np.floating | np.integer]


def auc(labels_N: Numbers, scores_N: Numbers) -> float:
    """Chance that a positive scores above a negative, ties counting half; NaN if a class is absent."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(labels_N, scores_N)) if _both_classes(labels_N) else float("nan")


def logloss(labels_N: Numbers, scores_N: Numbers) -> float:
    """Mean negative log likelihood in nats; `scores_N` are probabilities, clipped to float32's reach."""
    from sklearn.metrics import log_loss

    likely_N = np.clip(np.asarray(scores_N, dtype=np.float64), EDGE, 1 - EDGE)
    return float(log_loss(labels_N, likely_N, labels=[0, 1]))


def gauc(labels_N: Numbers, scores_N: Numbers, users_N: Numbers) -> float:
    """Mean of the users' own AUCs, weighted by their rows; users with one class only are left out. NaN if all are."""
    _, user_N = np.unique(users_N, return_inverse=True)
    own_U, rows_U = own_auc(labels_N, scores_N, user_N)
    known_U = np.isfinite(own_U)
    return float(np.average(own_U[known_U], weights=rows_U[known_U])) if known_U.any() else float("nan")


def own_auc(
    labels_N: Numbers, scores_N: Numbers, user_N: NDArray[np.integer]
) -> tuple[NDArray[np.float64], NDArray[np.integer]]:
    """AUC and rows of each user 0, 1, ..., (U,); the AUC is NaN of a user with one class only."""
    positive_N = np.asarray(labels_N) > 0
    rank_N = _ranks_within(user_N, np.asarray(scores_N))
    positives_U, rows_U = np.bincount(user_N, positive_N), np.bincount(user_N)
    pairs_U = positives_U * (rows_U - positives_U)
    rank_sum_U = np.bincount(user_N, rank_N * positive_N)
    above_U = rank_sum_U - positives_U * (positives_U + 1) / 2  # Mann-Whitney U
    return np.divide(above_U, pairs_U, out=np.full(len(rows_U), np.nan), where=pairs_U > 0), rows_U


def ece(labels_N: Numbers, scores_N: Numbers, *, bins: int = 15, equal_mass: bool = True) -> float:
    """Expected calibration error (Guo et al. 2017): sum over bins of n_b / N * |share of positives - mean score|.

    Args:
        scores_N: probabilities.
        equal_mass: bins of about equally many rows, equal scores together; otherwise of equal width.
    """
    labels, scores = np.asarray(labels_N, dtype=np.float64), np.asarray(scores_N, dtype=np.float64)
    bin_N = equal_mass_bins(scores, bins) if equal_mass else np.searchsorted(np.arange(1, bins) / bins, scores, "right")
    gap = np.bincount(bin_N, labels, minlength=bins) - np.bincount(bin_N, scores, minlength=bins)
    return float(np.abs(gap).sum() / len(labels))


def equal_mass_bins(scores_N: NDArray[np.float64], bins: int) -> NDArray[np.integer]:
    """The bin of each score, 0 to `bins` - 1, each of about equally many rows; equal scores lie together."""
    edges = np.quantile(scores_N, np.arange(1, bins) / bins)
    return np.searchsorted(edges, scores_N, side="right")


def binary_metrics(labels_N: Numbers, scores_N: Numbers, users_N: Numbers) -> dict[str, float]:
    """`auc`, `logloss`, `gauc` and `ece` of one split."""
    return {
        "auc": auc(labels_N, scores_N),
        "logloss": logloss(labels_N, scores_N),
        "gauc": gauc(labels_N, scores_N, users_N),
        "ece": ece(labels_N, scores_N),
    }


def rel_impr(model_auc: float, base_auc: float) -> float:
    """RelImpr, in percent: ((AUC_model - 0.5) / (AUC_base - 0.5) - 1) * 100; NaN if the base is not above chance."""
    return ((model_auc - 0.5) / (base_auc - 0.5) - 1) * 100 if base_auc > 0.5 else float("nan")


def full_ranking(ranks_R: Numbers, ks: Sequence[int] = (5, 10)) -> dict[str, float]:
    """`hit@k` and `ndcg@k` from the 1-based ranks of each request's one relevant item."""
    ranks = np.asarray(ranks_R)
    gain = 1 / np.log2(1 + ranks)
    values = {}
    for k in ks:
        values[f"hit@{k}"] = float(np.mean(ranks <= k))
        values[f"ndcg@{k}"] = float(np.mean(np.where(ranks <= k, gain, 0)))
    return values


def _both_classes(labels_N: Numbers) -> bool:
    return len(np.unique(np.asarray(labels_N) > 0)) == 2


def _ranks_within(group_N: NDArray[np.integer], scores_N: Numbers) -> NDArray[np.float64]:
    """1-based ranks by ascending score within each group (0, 1, ...), ties sharing their mean rank."""
    order = np.lexsort((scores_N, group_N))
    group, score = group_N[order], scores_N[order]
    new_tie = np.append(True, (group[1:] != group[:-1]) | (score[1:] != score[:-1]))
    first = np.flatnonzero(new_tie)
    last = np.append(first[1:], len(order)) - 1
    shared = ((first + last) / 2)[np.cumsum(new_tie) - 1]
    ranks = np.empty(len(order))
    ranks[order] = shared + 1 - np.searchsorted(group, group)
    return ranks


def ece_by_chance(scores_N: Numbers, *, draws: int = 200, seed: int = 0) -> float:
    """What `ece` stays below in 99 of 100 cases if every score is the true chance of its label.

    Labels are drawn from the scores (consistency resampling, Broecker and Smith 2007).
    """
    generator, scores = np.random.default_rng(seed), np.asarray(scores_N, dtype=np.float64)
    found = [ece((generator.random(len(scores)) < scores).astype(np.int8), scores) for _ in range(draws)]
    return float(np.quantile(found, 0.99))


def auc_error(labels_N: Numbers, value: float) -> float:
    """Standard error of an AUC (Hanley and McNeil 1982); NaN if a class is absent."""
    positives = int((np.asarray(labels_N) > 0).sum())
    negatives = len(labels_N) - positives
    if not positives or not negatives:
        return float("nan")
    one, two = value / (2 - value), 2 * value**2 / (1 + value)  # two positives, two negatives
    spread = value * (1 - value) + (positives - 1) * (one - value**2) + (negatives - 1) * (two - value**2)
    return float(np.sqrt(spread / (positives * negatives)))


def reliability(labels_N: Numbers, scores_N: Numbers, *, bins: int = 10) -> list[tuple[float, float, int]]:
    """Mean score, share of positives and rows of bins of about equally many rows; no empty ones."""
    labels, scores = np.asarray(labels_N, dtype=np.float64), np.asarray(scores_N, dtype=np.float64)
    bin_N = np.searchsorted(np.quantile(scores, np.arange(1, bins) / bins), scores, side="right")
    count, score, label = (np.bincount(bin_N, values, minlength=bins) for values in (None, scores, labels))
    return [
        (float(score[at] / count[at]), float(label[at] / count[at]), int(count[at])) for at in range(bins) if count[at]
    ]
