"""Every gate can pass, fail and not apply; intervals decide unless the estimate is asked for."""

from dataclasses import replace
from math import inf

import pytest

from core.uncertainty import Interval
from llmcf.gates.deciding import SPECS, Absent, Fault, Figure, Sound, decide
from llmcf.serving.thresholds import GATES, LLM_GATES, Limit, Thresholds

LIMITS = Thresholds()
LLM_COMPARED = [name for name in LLM_GATES if getattr(LIMITS, name).margin < inf]


def figure(name: str, step: float = 0.0, gap: float = 0.0) -> Figure:
    """A figure that keeps to its bound, better by `step`; as good as the live one's, better by `gap`."""
    spec, limit = SPECS[name], LIMITS.of(name)
    assert limit is not None
    sign = 1 if spec.higher else -1
    value = limit.bound + sign * step
    return Figure(value=value, live=value, gap=Interval(estimate=sign * gap, low=sign * gap, high=sign * gap))


@pytest.mark.parametrize("name", [name for name in (*GATES, *LLM_GATES) if name != "canary"])
def test_each_gate_fails_beyond_its_bound(name: str) -> None:
    at, worse = decide(name, figure(name), LIMITS), decide(name, figure(name, -0.01), LIMITS)
    assert (at.state, worse.state) == ("passed", "failed")
    assert "the bound" in worse.reason
    assert ("below" if SPECS[name].higher else "above") in worse.reason
    assert decide(name, figure(name, -0.01), replace(LIMITS, off=(name,))).state == "not applicable"
    nothing_asked = Limit(bound=-inf if SPECS[name].higher else inf)
    assert decide(name, figure(name, -0.01), replace(LIMITS, **{name: nothing_asked})).state == "passed"


@pytest.mark.parametrize("name", ["auc", "gauc", "logloss", "ece", "hit", "ndcg", "p50", "p99", *LLM_COMPARED])
def test_each_comparison_fails_beyond_its_margin(name: str) -> None:
    limit = LIMITS.of(name)
    assert limit is not None
    inside, beyond = (decide(name, figure(name, 0.01, -share * limit.margin), LIMITS) for share in (0.9, 1.1))
    assert (inside.state, beyond.state) == ("passed", "failed")
    assert "the margin" in beyond.reason
    assert decide(name, figure(name, 0.01, 10 * limit.margin), LIMITS).state == "passed", "better than live"
    alone = replace(figure(name, 0.01, -1.1 * limit.margin), live=None, gap=None)
    assert decide(name, alone, LIMITS).state == "passed", "a first release has nothing to keep up with"


@pytest.mark.parametrize("name", [*GATES, *LLM_GATES])
def test_what_cannot_be_measured_fails_and_what_is_not_there_does_not_apply(name: str) -> None:
    fault, absent = decide(name, Fault("Milvus is gone"), LIMITS), decide(name, Absent("no sample"), LIMITS)
    assert (fault.state, fault.reason) == ("failed", "Milvus is gone")
    assert (absent.state, absent.reason) == ("not applicable", "no sample")
    assert decide(name, Sound("as it must be"), LIMITS).state == "passed"


def test_a_number_that_is_none_fails() -> None:
    found = decide("auc", Figure(value=float("nan")), LIMITS)
    assert found.state == "failed"
    gap = Interval(estimate=float("nan"), low=float("nan"), high=float("nan"))
    assert decide("auc", Figure(value=0.8, live=0.8, gap=gap), LIMITS).state == "failed"


@pytest.mark.parametrize(("name", "good"), [("auc", 0.8), ("logloss", 0.5)])
def test_the_worse_end_of_an_interval_decides_unless_the_estimate_is_asked_for(name: str, good: float) -> None:
    limit = LIMITS.of(name)
    assert limit is not None
    wide = Figure(
        value=good,
        interval=Interval(estimate=good, low=good - 0.01, high=good + 0.01),
        live=good,
        gap=Interval(estimate=0.0, low=-1.2 * limit.margin, high=1.2 * limit.margin),
    )
    found = decide(name, wide, LIMITS)
    assert found.state == "failed"
    assert "the worse end of its interval" in found.reason
    assert decide(name, wide, replace(LIMITS, decide_by="estimate")).state == "passed"
    narrow = replace(wide, gap=Interval(estimate=0.0, low=-0.8 * limit.margin, high=0.8 * limit.margin))
    assert decide(name, narrow, LIMITS).state == "passed"
    assert (found.gap_low, found.margin, found.live) == (-1.2 * limit.margin, limit.margin, good)


def test_a_busy_machine_fails_no_timing_by_its_interval() -> None:
    shaky = Interval(estimate=0.1, low=-0.4, high=3.0)
    assert decide("p99", Figure(value=20.0, live=18.0, gap=shaky), LIMITS).state == "passed"
    slower = replace(shaky, estimate=1.2)
    assert decide("p99", Figure(value=40.0, live=18.0, gap=slower), LIMITS).state == "failed"
    assert "+120%" in decide("p99", Figure(value=40.0, live=18.0, gap=slower), LIMITS).reason


def test_a_model_is_told_beside_what_it_was_held_against() -> None:
    gap = Interval(estimate=-0.2, low=-0.3, high=-0.1)
    found = decide("llm_auc", Figure(value=0.6, live=0.8, gap=gap, beside=("pinned", "model")), LIMITS)
    assert "below the margin -0.1000 to the pinned model" in found.reason
    assert "AUC of P(Yes) 0.6000, pinned 0.8000, difference -0.2000 [-0.3000, -0.1000]" in found.reason


def test_few_texts_fail_no_model_by_their_interval() -> None:
    wide = Figure(value=0.33, interval=Interval(estimate=0.33, low=0.0, high=0.8))
    assert decide("llm_degenerate", wide, LIMITS).state == "passed"
    assert decide("llm_degenerate", replace(wide, value=0.6), LIMITS).state == "failed"
