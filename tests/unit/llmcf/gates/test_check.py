"""What a check says where the live release cannot be timed beside the checked one."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from llmcf.gates import check, deciding, page
from llmcf.gates.answering import Answering, Answers
from llmcf.gates.served import Timed
from llmcf.serving.manifest import Release
from llmcf.serving.thresholds import Limit, Thresholds
from llmcf.serving.verdicts import Gate, Verdict

LIMITS = Thresholds(draws=50)
WHY = "a model answers otherwise than ONNX Runtime"
ASKED = check._Asked(
    release=cast(Answering, None),
    live=None,
    moments=[],
    told=cast(Answers, None),
    live_told=None,
    compared="",
)


def timed(monkeypatch: pytest.MonkeyPatch, why: str) -> tuple[dict[str, Any], str]:
    took = Timed(taken_R=np.linspace(10, 20, 21), live_R=None, why=why)
    monkeypatch.setattr(check.served, "answer", lambda *_: took)
    return check._timed(ASKED, LIMITS)


def test_timings_without_the_live_release_say_why(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found, alone = timed(monkeypatch, WHY)
    assert WHY in alone
    assert WHY in capsys.readouterr().err
    for name in ("p50", "p99"):
        gate = deciding.decide(name, found[name], LIMITS)
        assert gate.reason.endswith(f"21 requests; {alone}")
        assert (gate.state, gate.gap) == ("passed", None)


def test_where_nothing_else_is_live_there_is_nothing_to_say(monkeypatch: pytest.MonkeyPatch) -> None:
    found, alone = timed(monkeypatch, "")
    assert alone == ""
    assert deciding.decide("p50", found["p50"], LIMITS).reason.endswith("21 requests")


@pytest.mark.parametrize(
    ("against", "allowed", "failed"),
    [(1, False, ["auc", "gauc", "logloss", "ece", "ndcg"]), (1, True, []), (None, False, [])],
    ids=["it cannot be asked", "which is allowed", "nothing is live"],
)
def test_without_the_live_release_the_bounds_alone_pass_nothing_unless_that_is_allowed(
    monkeypatch: pytest.MonkeyPatch, against: int | None, allowed: bool, failed: list[str]
) -> None:
    """What has no margin, and what is not of the live release, decides as ever."""
    monkeypatch.setattr(check.verdicts, "against", lambda release: against)
    monkeypatch.setattr(check.verdicts, "digest", lambda release: "")
    monkeypatch.setattr(check, "_asked", lambda *_, **__: replace(ASKED, compared=WHY))
    monkeypatch.setattr(check, "_rows", lambda asked: {})
    good = {"logloss": 0.5, "ece": 0.0}
    monkeypatch.setattr(check.figures, "measure", lambda name, *_: deciding.Figure(value=good.get(name, 0.99)))
    off = ("leaks", "skew", "recall", "canary", "p50", "p99")
    limits = replace(LIMITS, off=off, uncompared=allowed, hit=Limit(bound=0.0))
    verdict = check._verdict(cast(Release, SimpleNamespace(number=2, dataset="shop")), limits)
    assert verdict.failed == failed
    assert verdict.compared == WHY
    for gate in verdict.gates:
        assert gate.state != "failed" or "; release 1 cannot be asked" in gate.reason


def test_the_page_says_what_was_compared() -> None:
    release = cast(Release, type("Some", (), {"order": "published", "as_of": "latest"}))
    gates = (Gate(name="auc", state="passed", reason="", gap=0.01), Gate(name="p50", state="passed", reason=""))
    verdict = Verdict(release=2, manifest="", against=1, compared="", thresholds="", checked="", rows={}, gates=gates)
    assert "; compared with release 1; order" in page._made(release, verdict)
    assert f"; compared with release 1; {WHY}; order" in page._made(release, replace(verdict, compared=WHY))
    alone = replace(verdict, compared="no other release is live", against=None, gates=gates[1:])
    assert "`llmcf release check`; no other release is live; order" in page._made(release, alone)
