"""Evaluations of models that are not there, as good as a test wants them."""

from dataclasses import replace

import numpy as np

from llm.recgen.evaluate import Evaluation


def evaluation(skill: float, seed: int = 0, *, pairs: int = 40) -> Evaluation:
    """Pairs scored with so much skill; the same noise for every skill."""
    rng = np.random.default_rng(seed)
    label = np.tile([1, 0], pairs)
    score = 1 / (1 + np.exp(-(skill * (label - 0.5) + rng.normal(size=2 * pairs))))
    return Evaluation(
        p_yes=score.tolist(),
        label=label.tolist(),
        user=np.repeat(np.arange(pairs), 2).tolist(),
        correct=(rng.random(60) < 0.3).tolist(),
        subject=["law"] * 30 + ["art"] * 30,
        nats=(2 + rng.random(20) - skill / 10).tolist(),
        degenerate=[False] * 10,
        answers=["x"] * 10,
    )


def without_rows(one: Evaluation) -> Evaluation:
    """As of a model that was asked about no recommendation rows."""
    return replace(one, p_yes=[], label=[], user=[])
