"""What a check of a model found is kept whole, and a pin rests on it only as long as nothing has changed."""

from dataclasses import replace
from pathlib import Path

import pytest

from core.errors import LlmcfError
from core.settings import Workspace
from llm import pins
from llm.pins import Pin
from llmcf.gates import model_verdicts
from llmcf.gates.model_verdicts import Verdict
from llmcf.serving import thresholds
from llmcf.serving.thresholds import Thresholds
from llmcf.serving.verdicts import FAILED, PASSED, Gate

WS = Workspace("movielens-100k", "shuffled-ties", "1998-01-10")
AGAIN = "llmcf llm check"
GOOD = Verdict(
    name="recgen-s1",
    model="a" * 64,
    pinned=None,
    against="untuned base",
    compared="",
    limits=Thresholds().llm_digest,
    checked="2026-01-31T00:00:00Z",
    size={"pairs": 2, "questions": 0},
    rows={"rows": 4},
    gates=(
        Gate(name="llm_auc", state=PASSED, reason="good", value=0.7),
        Gate(name="llm_mmlu", state="not applicable", reason=""),
    ),
)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path))


def required() -> dict:
    return model_verdicts.require_passed(WS, GOOD.name, GOOD.model, again=AGAIN)


def pinned(key: str) -> None:
    pins.write(WS, Pin(name="recgen-s0", folder="somewhere", hash=key))


def test_it_comes_back_as_it_was_written() -> None:
    assert model_verdicts.read(WS, GOOD.name) is None
    bad = Gate(name="llm_nats", state=FAILED, reason="no number", value=float("nan"), higher=False)
    place = model_verdicts.write(WS, replace(GOOD, gates=(*GOOD.gates, bad)))
    assert place == WS.path("recgen", "recgen-s1.check.json")
    found = model_verdicts.read(WS, GOOD.name)
    assert found == replace(GOOD, gates=(*GOOD.gates, replace(bad, value=None)))
    assert found and (found.passed, found.state) == (False, "failed: llm_nats")
    place.write_text("{", encoding="utf-8")
    assert model_verdicts.read(WS, GOOD.name) is None


def test_only_a_check_that_passed_lets_a_model_through() -> None:
    with pytest.raises(LlmcfError, match="recgen-s1 is not checked, so it is not pinned; run `llmcf llm check`"):
        required()
    model_verdicts.write(WS, replace(GOOD, gates=(Gate(name="llm_auc", state=FAILED, reason="AUC 0.4"),)))
    with pytest.raises(LlmcfError, match=r"did not pass its check, so it is not pinned: llm_auc: AUC 0\.4"):
        required()
    model_verdicts.write(WS, GOOD)
    told = {"when": "2026-01-31T00:00:00Z", "against": "untuned base", "figures": {"llm_auc": 0.7}}
    assert required() == told


def test_a_check_is_out_of_date_when_the_model_the_limits_or_the_pin_changed() -> None:
    model_verdicts.write(WS, GOOD)
    with pytest.raises(LlmcfError, match=r"out of date.*it is of the model aaaaaaaaaaaa, this one is bbbbbbbbbbbb"):
        model_verdicts.require_passed(WS, GOOD.name, "b" * 64, again=AGAIN)
    pinned("c" * 64)
    with pytest.raises(LlmcfError, match="nothing was pinned then, and cccccccccccc is now; run"):
        required()
    model_verdicts.write(WS, replace(GOOD, pinned="c" * 64))
    required()
    pinned(GOOD.model)
    required()
    thresholds.path(WS.dataset).write_text("[llm_auc]\nbound = 0.6\n", encoding="utf-8")
    with pytest.raises(LlmcfError, match="the limits have changed"):
        required()
    thresholds.path(WS.dataset).write_text("[auc]\nbound = 0.6\n", encoding="utf-8")
    required()
