"""The figures of an evaluation, each with its interval, and the paired difference of two on the same rows."""

from dataclasses import asdict

import numpy as np

from core import uncertainty
from core.uncertainty import Interval, Statistic
from llm.recgen.evaluate import Evaluation

MEASURES = {  # name -> (title, whether more is better)
    "auc": ("AUC", True),
    "logloss": ("LogLoss", False),
    "mmlu": ("MMLU", True),
    "nats": ("nats a token", False),
    "degenerate": ("degenerate", False),
}


def statistic(name: str, one: Evaluation) -> tuple[Statistic, int]:
    """One of MEASURES as a function of how often each unit counts, and how many units there are.

    Units are users for `auc` and `logloss`, else questions, instructions, texts.
    """
    label, score, user = (np.array(values) for values in (one.label, one.p_yes, one.user))
    match name:
        case "auc":
            return uncertainty.auc_of(label, score, user)
        case "logloss":
            edge = np.clip(score, 1e-7, 1 - 1e-7)
            return uncertainty.mean_of(-np.where(label == 1, np.log(edge), np.log(1 - edge)), user)
        case "mmlu":
            values = np.array(one.correct, dtype=np.float64)
        case "nats":
            values = np.array(one.nats)
        case _:
            values = np.array(one.degenerate, dtype=np.float64)
    return uncertainty.mean_of(values, np.arange(len(values)))


def measured(one: Evaluation, other: Evaluation | None = None) -> dict[str, dict[str, float]]:
    """Each of MEASURES with its interval; against `other` on the same rows, the paired difference."""
    out = {}
    for name in MEASURES:
        ours, units = statistic(name, one)
        if other is not None:
            ours = uncertainty.difference(ours, statistic(name, other)[0])
        out[name] = _rounded(uncertainty.bootstrap(ours, units))
    return out


def _rounded(interval: Interval) -> dict[str, float]:
    return {name: round(value, 5) for name, value in asdict(interval).items()}
