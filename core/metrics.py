"""Every number that a report compares (METHOD.md section 10). Suffixes: N rows, R ranked requests."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.floating | np.integer]


def auc(labels_N: Numbers, scores_N: Numbers) -> float:
    """Chance that a positive scores above a negative, ties counting half; NaN if a class is absent."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(labels_N, scores_N)) if _both_classes(labels_N) else float("nan")


def logloss(labels_N: Numbers, scores_N: Numbers) -> float:
    """Mean negative log likelihood in nats; `scores_N` are probabilities, clipped to float32's reach."""
    from sklearn.metrics import log_loss

    edge = float(np.finfo(np.float32).eps)
    return float(log_loss(labels_N, np.clip(np.asarray(scores_N, dtype=np.float64), edge, 1 - edge), labels=[0, 1]))


def gauc(labels_N: Numbers, scores_N: Numbers, users_N: Numbers) -> float:
    """Mean of the users' own AUCs, weighted by their rows; users with one class only are left out. NaN if all are."""
    _, user = np.unique(users_N, return_inverse=True)
    positive = np.asarray(labels_N) > 0
    rank = _ranks_within(user, np.asarray(scores_N))
    positives, rows = np.bincount(user, positive), np.bincount(user)
    negatives = rows - positives
    known = (positives > 0) & (negatives > 0)
    if not known.any():
        return float("nan")
    rank_sum = np.bincount(user, rank * positive)
    above = rank_sum - positives * (positives + 1) / 2  # Mann-Whitney U
    own = above[known] / (positives[known] * negatives[known])
    return float(np.average(own, weights=rows[known]))


def ece(labels_N: Numbers, scores_N: Numbers, *, bins: int = 15, equal_mass: bool = True) -> float:
    """Expected calibration error (Guo et al. 2017): sum over bins of n_b / N * |share of positives - mean score|.

    Args:
        scores_N: probabilities.
        equal_mass: bins of about equally many rows, equal scores together; otherwise of equal width.
    """
    labels, scores = np.asarray(labels_N, dtype=np.float64), np.asarray(scores_N, dtype=np.float64)
    inner = np.arange(1, bins) / bins
    edges = np.quantile(scores, inner) if equal_mass else inner
    bin_N = np.searchsorted(edges, scores, side="right")
    gap = np.bincount(bin_N, labels, minlength=bins) - np.bincount(bin_N, scores, minlength=bins)
    return float(np.abs(gap).sum() / len(labels))


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
