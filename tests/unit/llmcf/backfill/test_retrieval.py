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
from core.uncertainty import paired_test
from llmcf.backfill import retrieval
from llmcf.backfill.retrieval import CONTROL, STAGE, Matrix
from llmcf.reports import retrieval as retrieval_report
from llmcf.reports import retrieval_cells
from llmcf.reports.retrieval_cells import CONTROLS, VARIANT_NAMES
from retrieval_stage import measured_controls
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
    cold = of_segment | {"rows": 2000, "intervals": {"hit@10": [2 * level - 0.02, 2 * level + 0.02]}}
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


def control(name: str, level: float, order: str = "published") -> dict[str, Any]:
    return measured({"model": name, "framework": "none", "recipe": CONTROL, "variant": "", "seed": 0}, level, order)


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


def test_controls_of_before_cold_segments_are_measured_once_more_and_no_more_often(
    kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = {"masked": {"ndcg@10": 0.1}}
    asked: list[Workspace] = []

    def measure(ws: Workspace) -> tuple[list[dict[str, Any]], dict[str, str]]:
        asked.append(ws)
        found = {"settings": {}, "metrics": {"test": figures}, "segments": dict.fromkeys(COLD, figures)}
        return [{"name": name, **found} for name in measured_controls.NAMES], {}

    monkeypatch.setattr(measured_controls, "measure", measure)
    monkeypatch.setattr(retrieval, "data_of", lambda _: "d")
    facts = {"of_texts": {}, "encoders": {"cot/vectors": "e"}}
    monkeypatch.setattr(retrieval, "facts_of", lambda *_: facts)
    before = facts | {"metrics": {"test": {"ndcg@10": 0.1}}, "segments": {}}
    keep(kept, *(control(name, 0.1) | before for name in CONTROLS))
    for _ in range(2):
        retrieval.measure_controls(BEAUTY, command="llmcf backfill retrieval")
    lines = measurements.read(kept)
    assert len(asked) == 1
    assert [line["config"]["model"] for line in lines[len(CONTROLS) :]] == list(measured_controls.NAMES)
    assert all(set(COLD) <= set(line["segments"]) for line in lines[len(CONTROLS) :])
    monkeypatch.setattr(retrieval, "facts_of", lambda *_: {"of_texts": {}, "encoders": {"cot/vectors": "another"}})
    retrieval.measure_controls(BEAUTY, command="llmcf backfill retrieval")
    assert len(asked) == 2, "vectors of another encoder"


def test_the_page_has_the_papers_figures_the_gain_and_what_needs_no_training(kept: Path) -> None:
    for seed, gain in ((1, 0.010), (2, 0.012), (3, 0.011)):
        for model in MODELS:
            keep(kept, line(model, "none", seed, 0.04 + seed / 1000))
            keep(kept, line(model, "llm-cf", seed, 0.04 + seed / 1000 + gain))
        keep(kept, line("sasrec", "llm-cf", seed, 0.04 + seed / 1000, variant="code"))
    keep(kept, control("popularity", 0.007), control("graph+text", 0.03))
    made = retrieval_report.report(BEAUTY)
    page = read(made)
    assert "| popularity | not trained | 1 | 0.0070 | | 0.0140 | |" in page
    row = next(one for one in page.splitlines() if one.startswith("| SASRec | llm-cf | 3 |"))
    assert "| 0.1060 ± 0.0035 |" in row, "HIT@10"
    assert "| +0.0110 [+0.0085, +0.0135] |" in row
    assert "| 0.0530 ± 0.0017 | 0.0395 | 0.1060 ± 0.0035 | 0.0652 |" in row, "each with the paper's own"
    assert "| 0.0265 ± 0.0009 | 0.0210 | 0.0530 ± 0.0017 | 0.0293 |" in row
    left_in = page.split("## Seen items taken out and left in, strict")[1]
    assert "| SASRec | llm-cf | 0.1060 ± 0.0035 | 0.0530 ± 0.0017 | 0.0530 ± 0.0017 | 0.0265 ± 0.0009 |" in left_in
    ablated = next(one for one in page.splitlines() if one.startswith("| SASRec | fused as in the authors' code | 3 |"))
    assert "| -0.0110 [-0.0135, -0.0085] |" in ablated
    assert "| transition graph and text | not trained | 25.0% | 12.0 |" in page
    folder = Path(made.artifacts["report"]).parent
    assert sorted(path.name for path in folder.iterdir()) == [
        "made_of.json", "report.html", "report.md", "retrieval.csv", "segments-strict.svg", "table-4-strict.svg",
    ]  # fmt: skip
    with (folder / "retrieval.csv").open() as stream:
        assert len(list(csv.DictReader(stream))) == 3 * (3 * (2 * len(MODELS) + 1) + 2)


def rows_of(page: str, title: str) -> dict[tuple[str, str], list[str]]:
    """A table's cells, by the first two of each row."""
    lines = [one for one in page.split(f"## {title}\n")[1].split("## ")[0].splitlines() if one.startswith("| ")]
    cells = [[cell.strip() for cell in one.strip("|").split("|")] for one in lines]
    return {(row[0], row[1]): row for row in cells}


def test_p_is_corrected_by_holm_within_each_table_and_the_note_says_so(kept: Path) -> None:
    gains = {"sasrec": (0.010, 0.012, 0.011), "srgnn": (0.001, 0.002, 0.004), "gru4rec": (0.001, -0.001, 0.0005)}
    for model, of_seed in gains.items():
        for seed, gain in enumerate(of_seed):
            keep(kept, line(model, "none", seed, 0.04), line(model, "llm-cf", seed, 0.04 + gain))
    for seed, loss in enumerate((0.002, 0.0021, 0.003)):
        keep(kept, line("sasrec", "llm-cf", seed, 0.05, variant="code"))
        keep(kept, line("sasrec", "llm-cf", seed, 0.04 + gains["sasrec"][seed] - loss, variant="user"))
    page = read(retrieval_report.report(BEAUTY))

    def alone(*gaps: float) -> float:
        return paired_test(gaps, [0.0] * len(gaps)).t_p

    table = rows_of(page, "Table 4, strict")
    p = {name: float(table[name, "llm-cf"][-1]) for name in ("SASRec", "SRGNN", "GRU4Rec")}
    assert p["SASRec"] == pytest.approx(3 * alone(*gains["sasrec"]), abs=1e-4)
    assert p["SRGNN"] == pytest.approx(2 * alone(*gains["srgnn"]), abs=1e-4)
    assert p["GRU4Rec"] == pytest.approx(alone(*gains["gru4rec"]), abs=1e-4)
    assert "Holm's correction over all tests of this table, which are 3 (a backbone with LLM-CF against" in page
    variants = rows_of(page, "Variants of LLM-CF, strict")
    code, user = (float(variants["SASRec", VARIANT_NAMES[name]][-1]) for name in ("code", "user"))
    assert user == pytest.approx(2 * alone(0.002, 0.0021, 0.003), abs=1e-4)
    assert code == pytest.approx(max(user, alone(0.0, 0.002, 0.001)), abs=1e-4)
    assert "Holm's correction over all tests of this table, which are 2 (a variant against LLM-CF)" in page


def test_one_seed_is_no_test_and_data_that_the_paper_has_not_has_no_column_of_it(kept: Path) -> None:
    movielens = replace(BEAUTY, dataset="movielens-100k")
    keep(measurements.file("retrieval", movielens.dataset), line("sasrec", "none", 1, 0.04))
    table = read(retrieval_report.report(movielens)).split("## Table 4, strict")[1].split("## ")[0]
    assert "There is no p: a test, a backbone with LLM-CF against without, takes two seeds." in table
    assert "| backbone | framework | seeds | HIT@5 | HIT@10 | NDCG@5 | NDCG@10 | NDCG@10 less none's | p |" in table
    assert "paper" not in table


def test_cold_rows_stand_beside_every_control_with_a_verdict(kept: Path) -> None:
    for seed in (1, 2):
        keep(kept, line("sasrec", "none", seed, 0.04 + seed / 1000), line("sasrec", "llm-cf", seed, 0.02))
        keep(kept, line("srgnn", "none", seed, 0.0))
    keep(kept, control("popularity", 0.007), control("transitions", 0.03), control("text", 0.02))
    keep(kept, control("graph+text", 0.06), control("lately", 0.01))
    page = read(retrieval_report.report(BEAUTY))
    for segment in COLD:
        table = page.split(f"## Cold start, strict: {segment}")[1].split("##")[0]
        assert "| popularity | not trained | 0.0140 | [-0.0060, 0.0340] | | |" in table
        assert "| text cosine | not trained | 0.0400 | [0.0200, 0.0600] | | |" in table
        assert "| transition graph | not trained | 0.0600 | [0.0400, 0.0800] | +0.0200 | undecided |" in table
        assert "| transition graph and text | not trained | 0.1200 | [0.1000, 0.1400] | +0.0800 | above all |" in table
        assert "| SASRec | none | 0.0830 ± 0.0014 | [0.0630, 0.1030] | +0.0430 | above all |" in table
        assert "| SASRec | llm-cf | 0.0400 ± 0.0000 | [0.0200, 0.0600] | +0.0000 | undecided |" in table
        assert "| SRGNN | none | 0.0000 ± 0.0000 | [-0.0200, 0.0200] | -0.0400 | undecided |" in table, "they touch"
        assert f"the 2000 test rows of {segment}" in table
        assert "Of 3 models here 1 above all, 2 undecided, 0 below; 1 without any hit." in table


def test_without_the_bar_there_is_no_verdict(kept: Path) -> None:
    keep(kept, line("sasrec", "none", 1, 0.05), control("popularity", 0.007))
    table = read(retrieval_report.report(BEAUTY)).split("## Cold start, strict")[1].split("##")[0]
    assert "Not held against popularity and text cosine: `llmcf backfill retrieval` measures them" in table
    assert "| SASRec | none | 0.1000 | [0.0800, 0.1200] |\n" in table
    assert "verdict" not in table


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


def test_a_cell_of_several_orders_has_a_row_of_each_with_seen_items_out_and_in(kept: Path) -> None:
    for order, level in (("published", 0.05), ("shuffled-ties", 0.03), ("global-time", 0.02)):
        keep(kept, line("sasrec", "none", 1, level, order=order), line("sasrec", "none", 2, level, order=order))
        keep(kept, control("text", level / 2, order))
    keep(kept, line("srgnn", "none", 1, 0.01))
    table = read(retrieval_report.report(BEAUTY)).split("## By order")[1]
    head, _, *rows = [one for one in table.splitlines() if one.startswith("|")]
    assert head == (
        "| recipe | backbone | framework | order | seeds | HIT@10 | unmasked HIT@10 | NDCG@10 | unmasked NDCG@10 |"
    )
    assert rows == [
        "| control | text cosine | not trained | shuffled-ties | 1 | 0.0300 | 0.0150 | 0.0150 | 0.0075 |",
        "| control | text cosine | not trained | published | 1 | 0.0500 | 0.0250 | 0.0250 | 0.0125 |",
        "| control | text cosine | not trained | global-time | 1 | 0.0200 | 0.0100 | 0.0100 | 0.0050 |",
        *(
            f"| strict | SASRec | none | {order} | 2 | {2 * level:.4f} ± 0.0000 | {level:.4f} ± 0.0000 | "
            f"{level:.4f} ± 0.0000 | {level / 2:.4f} ± 0.0000 |"
            for order, level in (("shuffled-ties", 0.03), ("published", 0.05), ("global-time", 0.02))
        ),
    ], "SRGNN was measured in one order only"


def test_every_backbone_has_its_row_in_the_papers_table() -> None:
    paper = retrieval_cells.paper_figures("amazon-beauty")
    assert {name for name, _, _ in paper} >= set(BACKBONES)
    assert retrieval_cells.paper_figures("movielens-100k") == {}


def test_nothing_measured_names_the_verb(kept: Path) -> None:
    assert not kept.exists()
    with pytest.raises(LlmcfError, match="run `llmcf backfill retrieval --dataset amazon-beauty"):
        retrieval_report.report(BEAUTY)
