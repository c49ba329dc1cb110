"""A really tuned model passes against the one it came from, one with shuffled weights does not, and the pin stays."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from core import settings
from core.errors import LlmcfError
from core.settings import Workspace
from llm import models, pins
from llm.recgen import evaluate, train
from llm.recgen.recipes import TuningConfig
from llmcf.cli import app
from llmcf.gates import model_verdicts
from llmcf.serving import thresholds

pytestmark = pytest.mark.integration
# Its words are few and all titles unknown: what two small layers can learn is what answers are made of.
LIMITS = """
decide_by = "estimate"
draws = 50
[llm_auc]
bound = 0.0
margin = 1.0
[llm_degenerate]
bound = 1.0
"""
SMALL = ("--pairs", "12", "--instructions", "12", "--texts", "2")


def verb(capfd: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict, str]:
    """Exit code, what was told as JSON, and what was objected, of `llmcf llm ...`."""
    code, said = 0, ""
    try:
        app(["llm", *words, "--dataset", "movielens-100k", "--json"], standalone_mode=False)
    except LlmcfError as error:
        code, said = error.exit_code, str(error)
    out = capfd.readouterr()
    told = json.loads(out.out)["details"] if out.out else {}
    return code, told, said or out.err


def check(capfd: pytest.CaptureFixture[str], seed: int) -> tuple[int, dict, str]:
    return verb(capfd, "check", "--seed", str(seed), *SMALL)


@pytest.fixture(scope="module")
def tuned(own: Workspace, home: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seed 5, really tuned; seed 6 is seed 5 with each weight's values shuffled."""
    (settings.home() / "torch-extensions").symlink_to(home / "torch-extensions")  # compiled once
    base = shutil.copytree(model, tmp_path_factory.mktemp("base") / "tiny")
    (base / "step.json").write_text('{"content": "x", "outputs": {}, "key": "", "summary": {}, "seconds": 0}')
    config = TuningConfig(method="recgen", seed=5, rows=32, batch=4, model=str(base), learning_rate=3e-2)
    good = Path(train.train(own, config).artifacts["model"])
    spoiled = shutil.copytree(good, models.tuned_folder(own, method="recgen", seed=6))
    shuffle = torch.Generator().manual_seed(0)
    weights = {
        name: weight.flatten()[torch.randperm(weight.numel(), generator=shuffle)].view_as(weight)
        for name, weight in load_file(good / "model.safetensors").items()
    }
    save_file(weights, spoiled / "model.safetensors", metadata={"format": "pt"})
    thresholds.path(own.dataset).write_text(LIMITS, encoding="utf-8")
    return good


def test_a_pin_asks_for_a_check_that_passed_and_the_next_model_has_to_keep_up(
    own: Workspace, tuned: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    evaluations: list[Path] = []
    real = evaluate.evaluate

    def counted(ws: Workspace, folder: Path, *rest: object, **how: object) -> evaluate.Evaluation:
        evaluations.append(folder)
        return real(ws, folder, *rest, **how)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(evaluate, "evaluate", counted)
    code, _, said = verb(capfd, "pin", "--model", "recgen", "--seed", "5", "--checked")
    assert code == 1
    assert "recgen-s5 is not checked, so it is not pinned; run `llmcf llm check --seed 5 --model recgen" in said
    code, _, said = verb(capfd, "pin", "--checked")
    assert code == 2

    code, told, _ = check(capfd, 5)
    assert (code, told["state"], told["against"]) == (0, "passed", "untuned tiny")
    gates = {gate["name"]: gate for gate in told["gates"]}
    assert gates["llm_nats"]["gap_high"] < 0, "it has learnt what answers are made of"
    assert told["rows"] == {"rows": 24, "compared": 24}
    assert len(evaluations) == 2
    assert check(capfd, 5)[0] == 0
    assert len(evaluations) == 2, "asking again asks no model"
    assert pins.read(own) is None, "a check pins nothing"

    code, told, _ = verb(capfd, "pin", "--model", "recgen", "--seed", "5", "--checked")
    assert code == 0
    assert told["checked"]["against"] == "untuned tiny"
    assert verb(capfd, "pin", "--model", "recgen", "--seed", "5", "--checked")[0] == 0, "once more is the same"

    code, told, said = check(capfd, 6)
    assert (code, told["against"]) == (3, "pinned recgen-s5")
    assert "llm_nats" in told["state"]
    assert "recgen-s6 does not pass, what is pinned stays: llm_nats: nats a token" in said
    assert len(evaluations) == 3, "the pinned one is known already, on the same rows"
    verdict = model_verdicts.read(own, "recgen-s6")
    assert verdict is not None and not verdict.passed
    code, _, said = verb(capfd, "pin", "--model", "recgen", "--seed", "6", "--checked")
    assert code == 1
    assert "recgen-s6 did not pass its check, so it is not pinned: llm_nats: " in said
    note = pins.read(own)
    assert note is not None and note.name == "recgen-s5"


def test_a_model_that_fails_is_told_once(own: Workspace, tuned: Path, capfd: pytest.CaptureFixture[str]) -> None:
    spoiled = models.tuned_folder(own, method="recgen", seed=6)
    torn = shutil.copytree(spoiled, models.tuned_folder(own, method="recgen", seed=7))
    file = torn / "model.safetensors"
    file.write_bytes(b"\xff" * file.stat().st_size)
    for times in (1, 0):
        app_said = []
        try:
            app(["llm", "check", "--dataset", "movielens-100k", "--seed", "7", *SMALL], standalone_mode=False)
        except LlmcfError as error:
            app_said.append(str(error))
        out = capfd.readouterr()
        assert "cannot be asked: " in app_said[0]
        assert out.err.count("ALERT llm-check (movielens-100k): recgen-s7 of latest does not pass its check") == times
        assert "| nats a token" in out.out
