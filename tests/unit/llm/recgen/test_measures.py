"""Figures of an evaluation are paired with another's on the same rows."""

import pytest

from llm.recgen.measures import measured
from tests.evaluations import evaluation


def test_a_difference_is_paired_and_its_interval_excludes_zero_when_it_should() -> None:
    gap = measured(evaluation(4), evaluation(0))
    assert gap["auc"]["low"] > 0.2
    assert gap["logloss"]["high"] < 0
    assert gap["nats"]["estimate"] == pytest.approx(-0.4, abs=1e-4)
    assert gap["mmlu"] == {"estimate": 0, "low": 0, "high": 0}
    none = measured(evaluation(0), evaluation(0))
    assert none["auc"]["low"] == none["auc"]["high"] == 0


def test_each_figure_has_its_interval() -> None:
    for name, found in measured(evaluation(2)).items():
        assert found["low"] <= found["estimate"] <= found["high"], name
