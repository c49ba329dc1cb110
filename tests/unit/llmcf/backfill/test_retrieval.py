"""The retrieval matrix: which cells it has, and what the report makes of the lines."""

import csv
import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from core import measurements
from core.errors import LlmcfError, UsageError
from core.result import Result
from core.segments import COLD, SEGMENTS
from core.settings import Workspace
from llmcf.backfill.retrieval import CONTROL, STAGE, Matrix
from llmcf.reports import retrieval as retrieval_report
from llmcf.reports import retrieval_cells
from retrieval_stage.recipes import resolve
from retrieval_stage.registry import BACKBONES, MODELS

BEAUTY = Workspace("amazon-beauty", "published")


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLMCF_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("LLMCF_RUNS", str(tmp_path / "runs"))
    return measurements.file("retrieval", BEAUTY.dataset)


def read(report: Result) -> str:
    """The page, its tables without padding."""
    return re.sub(" +", " ", Path(report.artifacts["report"]).read_text())


def measured(config: dict[str, Any], level: float, order: str = "published") -> dict[str, Any]:
    """A line whose NDCG@10 is `level`."""
    masked = {"hit@5": level, "hit@10": 2 * level, "ndcg@5": level / 2, "ndcg@10": level}
    unmasked = {name: value / 2 for name, value in masked.items()}
    of_segment = {"rows": 9, "masked": masked, "unmasked": unmasked}
    cold = of_segment | {"intervals": {"hit@10": [2 * level - 0.01, 2 * level + 0.01]}}
    segments = dict.fromkeys(SEGMENTS, of_segment) | dict.fromkeys(COLD, cold)
    return {
        "order": order, "as_of": "latest", "config": config, "data": "d", "code": "c",
        "metrics": {"valid": masked, "test": masked, "test_unmasked": unmasked},
        "intervals": {}, "segments": segments, "coverage": 0.25, "mean_popularity": 12.0,
        "best_epoch": 3, "seconds": 1.0, "machine": "here", "command": "llmcf backfill retrieval",
    }  # fmt: skip


def line(model: str, framework: str, seed: int, level: float, variant: str = "", **changes: Any) -> dict[str, Any]:
    config = resolve(model=model, framework=framework, recipe="strict", seed=seed, variant=variant)
    return measured(asdict(config), level, **changes)


def control(name: str, level: float) -> dict[str, Any]:
    return measured({"model": name, "framework": "none", "recipe": CONTROL, "variant": "", "seed": 0}, level)


def keep(file: Path, *lines: dict[str, Any]) -> None:
    for one in lines:
        measurements.append(file, one, same=["config", "order"])


def test_cells_are_seed_by_seed_and_variants_are_of_llm_cf_alone() -> None:
    matrix = Matrix(backbones=["sasrec"], variants=["", "code"], seeds=[1, 2])
    assert [config.name for config in matrix.cells()] == [
        "sasrec-none-strict-s1", "sasrec-llm-cf-strict-s1", "sasrec-llm-cf-strict-code-s1",
        "sasrec-none-strict-s2", "sasrec-llm-cf-strict-s2", "sasrec-llm-cf-strict-code-s2",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["backbones", "frameworks", "recipes", "variants"])
def test_an_unknown_name_is_refused_with_the_choices(name: str) -> None:
    with pytest.raises(UsageError, match=r"unknown .*'bert'; choose one of"):
        Matrix(**{name: ["bert"]})  # pyright: ignore[reportArgumentType]


def test_a_plain_cell_is_the_same_whatever_llm_cf_would_read() -> None:
    plain = resolve(model="sasrec", framework="none", recipe="strict", seed=1)
    assert STAGE.same(asdict(replace(plain, scale=0.7, fusion="gate")), plain)
    assert not STAGE.same(asdict(replace(plain, width=32)), plain)
    assert not STAGE.same(control("graph+text", 0.1)["config"], plain), "a line of what was not trained"
    enhanced = resolve(model="sasrec", framework="llm-cf", recipe="strict", seed=1)
    assert not STAGE.same(asdict(replace(enhanced, scale=0.7)), enhanced)


def test_the_page_has_the_papers_figures_the_gain_and_what_needs_no_training(kept: Path) -> None:
    for seed, gain in ((1, 0.010), (2, 0.012), (3, 0.011)):
        for model in MODELS:
            keep(kept, line(model, "none", seed, 0.04 + seed / 1000))
            keep(kept, line(model, "llm-cf", seed, 0.04 + seed / 1000 + gain))
        keep(kept, line("sasrec", "llm-cf", seed, 0.04 + seed / 1000, variant="code"))
    keep(kept, control("popularity", 0.007), control("graph+text", 0.03))
    made = retrieval_report.report(BEAUTY)
    page = read(made)
    assert "| popularity | not trained | 1 | 0.0070 | 0.0140 |" in page
    row = next(one for one in page.splitlines() if one.startswith("| SASRec | llm-cf | 3 |"))
    assert "| 0.1060 ± 0.0035 |" in row, "HIT@10"
    assert "| +0.0110 [+0.0085, +0.0135] |" in row
    assert row.endswith("| 0.0652 | 0.0293 |"), "the paper's own"
    ablated = next(one for one in page.splitlines() if one.startswith("| SASRec | fused as in the authors' code | 3 |"))
    assert "| -0.0110 [-0.0135, -0.0085] |" in ablated
    assert "| transition graph and text | not trained | 25.0% | 12.0 |" in page
    folder = Path(made.artifacts["report"]).parent
    assert sorted(path.name for path in folder.iterdir()) == [
        "report.html", "report.md", "retrieval.csv", "segments-strict.svg", "table-4-strict.svg",
    ]  # fmt: skip
    with (folder / "retrieval.csv").open() as stream:
        assert len(list(csv.DictReader(stream))) == 3 * (3 * (2 * len(MODELS) + 1) + 2)


def test_cold_rows_stand_beside_what_knows_them(kept: Path) -> None:
    for seed in (1, 2):
        keep(kept, line("sasrec", "none", seed, 0.04 + seed / 1000), line("sasrec", "llm-cf", seed, 0.05))
    keep(kept, control("popularity", 0.007), control("transitions", 0.03), control("text", 0.02))
    table = read(retrieval_report.report(BEAUTY)).split("## Cold start, strict")[1].split("##")[0]
    assert "| popularity | not trained | 9 | 0.0140 | [0.0040, 0.0240] | 9 |" in table
    assert "| text cosine | not trained | 9 | 0.0400 |" in table
    assert "transition" not in table
    assert "| SASRec | none | 9 | 0.0830 ± 0.0014 | [0.0730, 0.0930] | 9 |" in table


def test_lines_without_cold_rows_have_no_such_table(kept: Path) -> None:
    before, none = line("sasrec", "none", 1, 0.05), line("sasrec", "none", 2, 0.05)
    for name in COLD:
        del before["segments"][name]
        none["segments"][name] = {"rows": 0}
    keep(kept, before, none, control("popularity", 0.007))
    assert "Cold start" not in read(retrieval_report.report(BEAUTY))


def test_runs_of_an_earlier_recipe_are_left_out_and_counted(kept: Path) -> None:
    before = line("sasrec", "none", 2, 0.09)
    before["config"]["width"] = 8
    keep(kept, line("sasrec", "none", 1, 0.05), before)
    page = read(retrieval_report.report(BEAUTY))
    assert "Left out: 1 of recipes, rows or texts as they were before." in page
    assert "| SASRec | none | 1 |" in page


def test_orders_stand_side_by_side(kept: Path) -> None:
    keep(kept, line("sasrec", "none", 1, 0.05), line("sasrec", "none", 1, 0.03, order="shuffled-ties"))
    page = read(retrieval_report.report(BEAUTY))
    assert "## Orders side by side" in page
    assert "| strict | SASRec | none | 0.0600 | 0.0300 | 0.1000 | 0.0500 |" in page


def test_every_backbone_has_its_row_in_the_papers_table() -> None:
    paper = retrieval_cells.paper_figures("amazon-beauty")
    assert {name for name, _, _ in paper} >= set(BACKBONES)
    assert retrieval_cells.paper_figures("movielens-100k") == {}


def test_nothing_measured_names_the_verb(kept: Path) -> None:
    assert not kept.exists()
    with pytest.raises(LlmcfError, match="run `llmcf backfill retrieval --dataset amazon-beauty"):
        retrieval_report.report(BEAUTY)
