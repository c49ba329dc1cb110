"""`llmcf backfill retrieval` and `llmcf report retrieval` as they are typed."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from core import measurements
from core.errors import UsageError
from core.result import Result
from core.segments import SEGMENTS
from core.settings import Workspace
from llmcf.backfill import retrieval
from llmcf.backfill.retrieval import Matrix
from llmcf.cli import app
from retrieval_stage.recipes import resolve

BEAUTY = ["--dataset", "amazon-beauty", "--order", "published"]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the verb asked for; nothing is trained."""
    told: dict[str, Any] = {}

    def backfill(ws: Workspace, matrix: Matrix, **options: Any) -> Result:
        told.update(options, ws=ws, cells=[config.name for config in matrix.cells()])
        return Result(verb="backfill retrieval", workspace=ws)

    monkeypatch.setattr(retrieval, "backfill", backfill)
    return told


def test_a_matrix_is_what_was_listed_and_its_lines_say_how(asked: dict[str, Any]) -> None:
    options = ["--backbones", "youtubednn, srgnn", "--frameworks", "llm-cf", "--variants", "code", "--seeds", "1,2"]
    done = CliRunner().invoke(app, ["backfill", "retrieval", *BEAUTY, *options, "--again", "--workers", "2"])
    assert done.exit_code == 0, done.output
    assert asked["ws"] == Workspace("amazon-beauty", "published")
    assert asked["cells"] == [
        f"{model}-llm-cf-strict{variant}-s{seed}"
        for seed in (1, 2)
        for model in ("youtubednn", "srgnn")
        for variant in ("", "-code")
    ]
    assert (asked["again"], asked["workers"]) == (True, 2)
    assert asked["command"] == (
        "llmcf backfill retrieval --dataset amazon-beauty --order published --backbones 'youtubednn, srgnn' "
        "--frameworks llm-cf --recipes strict --variants code --seeds 1,2"
    )


def test_without_options_every_backbone_is_run_with_and_without_llm_cf(asked: dict[str, Any]) -> None:
    assert CliRunner().invoke(app, ["backfill", "retrieval"]).exit_code == 0
    models = ("sasrec", "youtubednn", "gru4rec", "srgnn")
    assert asked["cells"] == [f"{name}-{how}-strict-s2023" for name in models for how in ("none", "llm-cf")]
    assert (asked["again"], asked["workers"]) == (False, 1)


@pytest.mark.parametrize(("stage", "variant"), [("retrieval", "code"), ("ranking", "k8")])
def test_a_variant_that_no_framework_has_is_told(asked: dict[str, Any], stage: str, variant: str) -> None:
    """It would be left out without a word."""
    refused = CliRunner().invoke(app, ["backfill", stage, "--frameworks", "none", "--variants", variant]).exception
    assert isinstance(refused, UsageError)
    assert str(refused) == f"--variants {variant}: no framework has it of those that are run (none)"


def test_a_line_says_of_which_day_it_is(asked: dict[str, Any]) -> None:
    assert CliRunner().invoke(app, ["backfill", "retrieval", *BEAUTY, "--as-of", "2014-01-01"]).exit_code == 0
    assert "--as-of 2014-01-01" in asked["command"]


def test_all_variants_are_asked_for_by_one_word(asked: dict[str, Any]) -> None:
    options = ["--backbones", "youtubednn", "--frameworks", "llm-cf", "--recipes", "best", "--variants", "all"]
    assert CliRunner().invoke(app, ["backfill", "retrieval", *options]).exit_code == 0
    assert asked["cells"] == [f"youtubednn-llm-cf-best{variant}-s2023" for variant in ("", "-user", "-code", "-no-cot")]


@pytest.mark.parametrize(
    ("option", "value", "choice"),
    [
        ("--backbones", "bert", "sasrec"),
        ("--frameworks", "kar", "none, llm-cf"),
        ("--recipes", "best,loose", "strict, paper, best"),
        ("--variants", "k8", "code"),
        ("--seeds", "first", "2023,2024"),
        ("--dataset", "netflix", "amazon-beauty"),
    ],
)
def test_an_unknown_name_is_answered_with_the_choices(
    asked: dict[str, Any], option: str, value: str, choice: str
) -> None:
    refused = CliRunner().invoke(app, ["backfill", "retrieval", option, value]).exception
    assert isinstance(refused, UsageError)
    assert value.split(",")[-1] in str(refused)
    assert choice in str(refused)
    assert not asked


def test_the_report_of_what_was_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LLMCF_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("LLMCF_RUNS", str(tmp_path / "runs"))
    figures = dict.fromkeys(("hit@5", "hit@10", "ndcg@5", "ndcg@10"), 0.05)
    line = {
        "order": "published", "as_of": "latest", "data": "d",
        "config": asdict(resolve(model="youtubednn", framework="llm-cf", recipe="strict", seed=1, variant="code")),
        "metrics": {"test": figures, "test_unmasked": figures},
        "segments": {name: {"rows": 9, "masked": figures} for name in SEGMENTS},
        "coverage": 0.5, "mean_popularity": 3.0, "seconds": 1.0, "machine": "here", "command": "llmcf backfill",
    }  # fmt: skip
    measurements.append(measurements.file("retrieval", "amazon-beauty"), line, same=["config"])
    done = CliRunner().invoke(app, ["report", "retrieval", *BEAUTY, "--rows", "d", "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(capfd.readouterr().out)
    page = tmp_path / "runs" / "retrieval-amazon-beauty-published" / "report.html"
    assert (told["verb"], told["details"]["runs"], told["artifacts"]["page"]) == ("report retrieval", 1, str(page))
    assert "fused as in the authors" in page.read_text(encoding="utf-8")
    nothing = CliRunner().invoke(app, ["report", "retrieval", *BEAUTY, "--rows", "e"])
    assert "unknown state of the rows 'e'; choose one of: d" in str(nothing.exception)
