"""The ranking matrix: which cells it has, what it leaves out and says, and what the report makes of the lines."""

import csv
import io
import json
import os
import re
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from core import measurements, storage
from core.contracts import COT_CONTROLS
from core.data import tables
from core.errors import LlmcfError, UsageError
from core.result import Result
from core.settings import Workspace
from core.uncertainty import holm
from llmcf.backfill import ranking as ranking_matrix
from llmcf.backfill.ranking import Matrix
from llmcf.backfill.workers import Named, each
from llmcf.reports import measured, ranking_cells, ranking_controls, ranking_texts_plots
from llmcf.reports import ranking as ranking_report
from llmcf.reports.measured import cells_of
from ranking.configs import RankerConfig
from ranking.recipes import VARIANTS, resolve
from ranking.registry import MODELS
from ranking.segments import SEGMENTS
from tests import in_memory

BEAUTY = Workspace("amazon-beauty", "published")


@pytest.fixture(scope="module", autouse=True)
def torch_as_it_was() -> Iterator[None]:
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLMCF_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("LLMCF_RUNS", str(tmp_path / "runs"))
    return tmp_path


def read(report: Result) -> str:
    """The page, its tables without padding."""
    return re.sub(" +", " ", Path(report.artifacts["report"]).read_text())


def line(model: str, framework: str, seed: int, auc: float, variant: str = "", recipe: str = "strict") -> dict:
    config = resolve(BEAUTY, model=model, framework=framework, recipe=recipe, seed=seed, variant=variant)
    measured = {"auc": auc, "logloss": 1 - auc / 2, "gauc": auc, "ece": 0.01}
    return {
        "order": "published", "as_of": "latest", "config": asdict(config), "data": "d", "code": "c",
        "metrics": {"test": measured, "test_on_sale": measured}, "coverage": {}, "best_epoch": 1, "parameters": 1,
        "seconds": 1.0, "seconds_an_epoch": 1.0, "machine": "here", "command": "llmcf backfill ranking",
    }  # fmt: skip


def test_cells_are_seed_by_seed_and_variants_are_of_llm_cf_alone() -> None:
    matrix = Matrix(backbones=["dcn"], frameworks=["none", "llm-cf"], variants=["", "no-cot"], seeds=[1, 2])
    names = [config.name for config in matrix.cells(BEAUTY)]
    assert names == [
        "dcn-none-strict-s1", "dcn-llm-cf-strict-s1", "dcn-llm-cf-strict-no-cot-s1",
        "dcn-none-strict-s2", "dcn-llm-cf-strict-s2", "dcn-llm-cf-strict-no-cot-s2",
    ]  # fmt: skip


def test_what_is_read_beside_the_recipe_is_a_variant_of_every_framework() -> None:
    matrix = Matrix(backbones=["dcn"], frameworks=["none", "llm-cf"], recipes=["best"], variants=["sequence", "k2"])
    cells = list(matrix.cells(BEAUTY))
    assert [config.name for config in cells] == [
        "dcn-none-best-sequence-s2023", "dcn-llm-cf-best-sequence-s2023", "dcn-llm-cf-best-k2-s2023",
    ]  # fmt: skip
    assert [config.sequence for config in cells] == [True, True, False]
    with pytest.raises(UsageError, match="'sequence' adds to the numbers of recipe best; the recipe 'strict' reads"):
        resolve(BEAUTY, model="dcn", framework="none", recipe="strict", seed=1, variant="sequence")


def test_variants_change_what_they_say() -> None:
    configs = {
        name: resolve(BEAUTY, model="din", framework="llm-cf", recipe="strict", seed=1, variant=name).in_context
        for name in VARIANTS
    }
    assert configs["no-text"].use_text is False
    assert configs["no-cot"].use_cot is False
    assert configs["no-recgen"].cot_set == "base"
    assert {name: configs[name].cot_set for name in COT_CONTROLS} == {name: name for name in COT_CONTROLS}
    assert configs["no-decoder"].pooling == "mean"
    assert [configs[name].examples for name in ("k0", "k2", "", "k6", "k8")] == [0, 2, 4, 6, 8]
    assert configs["k4-unconstrained"].constrained is False
    with pytest.raises(UsageError, match="'no-cot' is one of LLM-CF"):
        resolve(BEAUTY, model="din", framework="kd", recipe="strict", seed=1, variant="no-cot")


@pytest.mark.parametrize(
    ("name", "value"), [("backbones", "dnc"), ("frameworks", "kda"), ("recipes", "lax"), ("variants", "no-llm")]
)
def test_unknown_names_are_refused_before_anything_runs(name: str, value: str) -> None:
    with pytest.raises(UsageError, match=value):
        Matrix(**{name: [value]})  # pyright: ignore[reportArgumentType]


def test_a_cell_without_its_input_is_left_out_with_its_remedy_and_the_others_run(own: Workspace, kept: Path) -> None:
    in_memory.write_cot_set(own, in_memory.example_set(tables.training_rows(own), items=len(tables.items(own))))
    matrix = Matrix(backbones=["deepfm"], frameworks=["none", "kd", "kar", "llm-cf"], variants=["", "no-recgen"])
    result = ranking_matrix.backfill(own, matrix, command="llmcf backfill ranking")
    details = result.details
    assert details["deepfm-none-strict-s2023"].startswith("AUC 0.")
    assert details["deepfm-llm-cf-strict-s2023"].startswith("AUC 0.")
    assert "run `llmcf recgen score" in details["deepfm-kd-strict-s2023"]
    assert "run `llmcf kar embed" in details["deepfm-kar-strict-s2023"]
    assert "run `llmcf cot restore" in details["deepfm-llm-cf-strict-no-recgen-s2023"]
    file = measurements.file("ranking", own.dataset)
    lines = measurements.read(file)
    assert [one["config"]["framework"] for one in lines] == ["none", "llm-cf"]
    assert lines[1]["coverage"]["examples"] <= 1
    assert (lines[0]["texts"], lines[1]["texts"] > 0) == (0, True)
    assert "rel_impr" in lines[1]["metrics"]["test"]
    ranking_matrix.backfill(own, matrix, command="llmcf backfill ranking")
    assert len(measurements.read(file)) == 2, "a finished run is not written down twice"
    storage.remove(own.path("ranking"))
    ranking_matrix.backfill(own, matrix, command="llmcf backfill ranking")
    assert not own.path("ranking").exists(), "what another machine has measured is not measured again"
    plain = replace(matrix, frameworks=["none"])
    ranking_matrix.backfill(own, replace(plain, precision="bfloat16"), command="llmcf backfill ranking")
    assert not own.path("ranking").exists(), "a plain run reads nothing in bfloat16"
    ranking_matrix.backfill(own, plain, command="llmcf backfill ranking", again=True)
    assert own.path("ranking", "deepfm-none-strict-s2023").exists()
    report = ranking_report.report(own)
    assert "| DeepFM | llm-cf | 1 |" in read(report)


def test_cells_side_by_side_are_the_same_cells(own: Workspace, kept: Path) -> None:
    matrix = Matrix(backbones=["deepfm", "dcn"], frameworks=["none"])
    with pytest.raises(UsageError, match="--workers 0"):
        ranking_matrix.backfill(own, matrix, command="llmcf backfill ranking", workers=0)
    ranking_matrix.backfill(own, matrix, command="llmcf backfill ranking", workers=2)
    lines = measurements.read(measurements.file("ranking", own.dataset))
    assert {one["config"]["model"] for one in lines} == {"deepfm", "dcn"}


def killed(config: RankerConfig) -> None:
    os._exit(9)


def refused(config: RankerConfig) -> None:
    raise UsageError(f"no {config.model}")


def test_a_killed_or_failed_cell_ends_the_matrix_with_a_clear_error() -> None:
    cell = resolve(BEAUTY, model="din", framework="none", recipe="strict", seed=1)
    with pytest.raises(LlmcfError, match="fewer --workers"):
        list(each(killed, [cell], workers=1))
    with pytest.raises(UsageError, match="no din"):
        list(each(refused, [cell], workers=1))


def test_lines_of_a_worker_name_their_cell() -> None:
    stream = io.StringIO()
    named = Named(stream, "din-none")
    print("epoch 1", "of 2", file=named)  # pyright: ignore[reportArgumentType]
    assert not named.isatty()
    assert stream.getvalue() == "din-none: epoch 1 of 2\n"


def test_runs_of_an_earlier_recipe_are_left_out_and_counted(kept: Path) -> None:
    file = measurements.file("ranking", BEAUTY.dataset)
    now, before = line("din", "none", 1, 0.8), line("din", "none", 2, 0.9)
    before["config"]["epochs"] = 3
    half = line("xdeepfm", "none", 1, 0.8)
    half["config"]["backbone"]["precision"] = "bfloat16"
    for one in (now, before, half):
        measurements.append(file, one, same=["config"])
    page = read(ranking_report.report(BEAUTY))
    assert "Left out: 1 of recipes, rows or texts as they were before." in page
    assert "| DIN | none | 1 | 0.8000 |" in page
    assert "| xDeepFM | none | 1 | 0.8000 |" in page


def test_runs_on_other_rows_or_texts_have_no_mean_with_the_last(kept: Path) -> None:
    file = measurements.file("ranking", BEAUTY.dataset)
    lines = [line("din", "none", 1, 0.9) | {"data": "before"}]
    lines += [line("din", framework, seed, 0.8) for framework in ("none", "llm-cf") for seed in (1, 2)]
    lines[-2]["of_texts"], lines[-1]["of_texts"] = {"cot/texts/texts.parquet": "1"}, {"cot/texts/texts.parquet": "2"}
    for one in lines:
        measurements.append(file, one, same=["config", "data"])
    page = read(ranking_report.report(BEAUTY))
    assert "Left out: 2 of" in page
    assert "| DIN | none | 2 | 0.8000 ± 0.0000 |" in page
    assert "| DIN | llm-cf | 1 | 0.8000 |" in page


def test_the_rows_of_the_workspace_are_what_is_told_of(own: Workspace, kept: Path) -> None:
    matrix = Matrix(backbones=["deepfm"], frameworks=["none"])
    ranking_matrix.backfill(own, matrix, command="llmcf backfill ranking")
    file = measurements.file("ranking", own.dataset)
    elsewhere = measurements.read(file)[0] | {"data": "elsewhere"}
    measurements.append(file, elsewhere, same=["data"])
    assert "Left out: 1 of" in read(ranking_report.report(own))
    assert f"rows {measurements.read(file)[0]['data']}" in read(ranking_report.report(own))
    assert "rows elsewhere. 1 measured" in read(ranking_report.report(own, rows="elsewhere"))
    with pytest.raises(UsageError, match=r"unknown state of the rows 'nowhere'; choose one of: .*elsewhere"):
        ranking_report.report(own, rows="nowhere")


def test_float32_and_bfloat16_have_no_mean_in_common() -> None:
    lines = [line("din", "llm-cf", seed, 0.8) for seed in (1, 2)]
    lines[0]["config"]["in_context"]["precision"] = "bfloat16"
    lines[1]["config"]["in_context"]["precision"] = "float32"
    assert list(cells_of(lines)["strict", "din", "llm-cf", ""]) == [2]
    plain = [line("din", "none", seed, 0.8) for seed in (1, 2)]
    plain[0]["config"]["in_context"]["precision"] = "bfloat16"
    assert list(cells_of(plain)["strict", "din", "none", ""]) == [1, 2], "which reads nothing in it"


def test_a_line_of_other_texts_is_measured_again(own: Workspace, kept: Path) -> None:
    examples = in_memory.example_set(tables.training_rows(own), items=len(tables.items(own)))
    in_memory.write_cot_set(own, examples)
    matrix = Matrix(backbones=["deepfm"], frameworks=["llm-cf"])
    ranking_matrix.backfill(own, matrix, command="llmcf backfill ranking")
    file = measurements.file("ranking", own.dataset)
    first = measurements.read(file)[0]
    assert set(first["of_texts"]) == {"data/items.parquet", "cot/texts/texts.parquet"}
    texts = own.cot("texts") / "texts.parquet"
    table = pq.read_table(texts)
    pq.write_table(table.set_column(table.column_names.index("text"), "text", pa.array(["other"] * len(table))), texts)
    stamp = storage.read_json(texts.with_name("step.json"))
    stamp["outputs"]["texts.parquet"] = texts.stat().st_size
    storage.write_json(texts.with_name("step.json"), stamp)
    ranking_matrix.backfill(own, matrix, command="llmcf backfill ranking", again=False)
    assert len(measurements.read(file)) == 2


def test_a_line_of_another_encoder_is_measured_again_and_one_that_tells_of_none_is_not(
    own: Workspace, kept: Path
) -> None:
    examples = in_memory.example_set(tables.training_rows(own), items=len(tables.items(own)))
    in_memory.write_cot_set(own, examples, encoder="invented")
    matrix = Matrix(backbones=["deepfm"], frameworks=["llm-cf"])
    ranking_matrix.backfill(own, matrix, command="llmcf backfill ranking")
    file = measurements.file("ranking", own.dataset)
    (first,) = measurements.read(file)
    assert first["encoders"] == {"cot/vectors": "invented"}
    file.write_text(json.dumps({name: value for name, value in first.items() if name != "encoders"}) + "\n")
    ranking_matrix.backfill(own, matrix, command="llmcf backfill ranking")
    assert len(measurements.read(file)) == 1
    file.write_text(json.dumps(first | {"encoders": {"cot/vectors": "another"}}) + "\n")
    ranking_matrix.backfill(own, matrix, command="llmcf backfill ranking")
    assert [line["encoders"] for line in measurements.read(file)][1] == first["encoders"]


def test_tables_hold_means_gains_and_the_papers_figures(kept: Path) -> None:
    file = measurements.file("ranking", BEAUTY.dataset)
    for seed, gain in ((1, 0.010), (2, 0.012), (3, 0.011)):
        for model in MODELS:
            measurements.append(file, line(model, "none", seed, 0.80 + seed / 1000), same=["config"])
            measurements.append(file, line(model, "llm-cf", seed, 0.80 + seed / 1000 + gain), same=["config"])
        measurements.append(file, line("din", "llm-cf", seed, 0.80 + seed / 1000, variant="no-cot"), same=["config"])
        measurements.append(file, line("din", "llm-cf", seed, 0.81, variant="k2"), same=["config"])
    made = ranking_report.report(BEAUTY)
    page = read(made)
    row = next(line for line in page.splitlines() if line.startswith("| DIN | llm-cf | 3 |"))
    assert "| 0.8130 ± 0.0017 |" in row
    assert "| +3.64 |" in row
    assert "| 0.7967 | 0.5492 |" in row, "the paper's own"
    assert "## Table 5, strict" in page
    ablated = next(line for line in page.splitlines() if line.startswith("| DIN | w/o CoT | 3 |"))
    assert "| -0.0110 |" in ablated
    assert "| 0.7907 | 0.5557 |" in ablated
    assert "## Figure 5, strict" in page
    folder = Path(made.artifacts["report"]).parent
    assert sorted(path.name for path in folder.iterdir()) == [
        "ablations-strict.svg", "auc-strict.svg", "examples-strict.svg", "made_of.json", "ranking.csv", "report.html",
        "report.md",
    ]  # fmt: skip
    assert "<svg" in (folder / "report.html").read_text()
    with (folder / "ranking.csv").open() as stream:
        assert len(list(csv.DictReader(stream))) == 2 * (3 * 12 + 6)


def test_controls_stand_beside_the_texts_as_written_and_beside_none(kept: Path) -> None:
    aucs = {("none", ""): 0.80, ("llm-cf", ""): 0.81, ("llm-cf", "facts"): 0.8101, ("llm-cf", "shuffled"): 0.80}
    lines = []
    for (framework, variant), auc in aucs.items():
        for seed, wobble in ((1, 0.0), (2, 0.0004), (3, 0.0008)):
            measured = line("deepfm", framework, seed, auc + wobble * (1.2 if variant == "facts" else 1), variant)
            measured["segments"] = {name: {"rows": 9, "auc": auc - 0.1} for name in SEGMENTS}
            lines.append(measured)
    whole, parts = ranking_controls.tables(cells_of(lines), "strict")
    rows = {row[1]: row for row in whole.rows}
    assert list(rows) == ["no LLM-CF", "the texts as written", "facts alone", "true texts at wrong rows"]
    assert rows["the texts as written"][-3:] == ["", "", ""]
    gap, differs, same = rows["facts alone"][-3:]
    assert gap.startswith("+0.0002 [")
    assert float(same.removeprefix("< ")) < 0.01 < float(differs)
    gap, differs, same = rows["true texts at wrong rows"][-3:]
    assert gap == "-0.0100 [-0.0100, -0.0100]"
    assert (differs, same) == ("< .0001", "1.0000")
    assert [row[2] for row in parts.rows] == [
        "0.7000 ± 0.0000",
        "0.7100 ± 0.0000",
        "0.7101 ± 0.0000",
        "0.7000 ± 0.0000",
    ]


def test_growth_is_the_gain_by_number_of_texts(kept: Path, tmp_path: Path) -> None:
    lines = []
    for seed, plain in ((1, 0.800), (2, 0.802), (3, 0.801)):
        lines.append(line("deepfm", "none", seed, plain))
        for name, texts, gain in (("tenth", 30_000, 0.02), ("m1000", 990, 0.01)):
            lines.append(line("deepfm", "llm-cf", seed, plain + gain, name) | {"texts": texts})
    cells = cells_of(lines)
    table = ranking_controls.growth_table(cells, "strict")
    assert [row[1:3] + row[-1:] for row in table.rows] == [
        ["990", "3", "+0.0100 [+0.0100, +0.0100]"],
        ["30,000", "3", "+0.0200 [+0.0200, +0.0200]"],
    ]
    found = ranking_controls.growth(cells, "deepfm")
    assert list(found) == [990, 30_000]
    assert found[990] == pytest.approx([0.01] * 3)
    assert list(ranking_texts_plots.draw(cells, {}, tmp_path)) == ["Gain by number of texts, strict"]
    assert (tmp_path / "growth-strict.svg").read_text().startswith("<?xml")


def test_content_stands_beside_the_gain_of_the_sets_that_have_both(kept: Path, tmp_path: Path) -> None:
    file = measurements.file("cot", BEAUTY.dataset)
    figures = {"": 0.7, "base": 0.8, "facts": 0.9, "titles": 0.95}
    for name, level in figures.items():
        kept_line = {"order": "published", "set": name, "figures": dict.fromkeys(ranking_controls.CONTENT, level)}
        measurements.append(file, kept_line, same=["set"])
    measurements.append(file, {"order": "global-time", "set": "", "figures": {}}, same=["order", "set"])
    aucs = {("none", ""): 0.80, ("llm-cf", ""): 0.81, ("llm-cf", "no-recgen"): 0.811, ("llm-cf", "facts"): 0.812,
            ("llm-cf", "words"): 0.813}  # fmt: skip
    cells = cells_of([line("deepfm", framework, 1, auc, variant) for (framework, variant), auc in aucs.items()])
    content = ranking_report.contents(BEAUTY)
    (table,) = ranking_controls.content_table(cells, "deepfm", content, "strict")
    assert [row[0] for row in table.rows[:-1]] == ["the texts as written", "of the untuned model", "facts alone"]
    assert [row[-1] for row in table.rows[:-1]] == ["+0.0100", "+0.0110", "+0.0120"]
    assert table.rows[-1][1].startswith("+1.00 ("), "the order of the gains is the order of the content"
    assert ranking_controls.content_table(cells, "din", content, "strict") == []
    assert sorted(ranking_texts_plots.draw(cells, content, tmp_path).values()) == [
        "content-deepfm.svg", "controls-strict.svg",
    ]  # fmt: skip


def test_what_was_measured_in_several_orders_stands_side_by_side(kept: Path) -> None:
    file = measurements.file("ranking", BEAUTY.dataset)
    for order, auc in (("published", 0.83), ("global-time", 0.70)):
        one = line("din", "none", 1, auc)
        measurements.append(file, one | {"order": order, "config": one["config"] | {"order": order}}, same=["config"])
    measurements.append(file, line("dcn", "none", 1, 0.8), same=["config"])
    page = read(ranking_report.report(BEAUTY))
    beside = page[page.index("## Orders side by side") :]
    assert "| strict | DIN | none | | | 0.8300 | 0.8300 | 0.7000 | 0.7000 |" in beside
    assert "DCN" not in beside, "measured in one order only"


def test_the_last_line_of_a_run_counts() -> None:
    lines = [line("din", "none", 1, 0.7), line("din", "none", 1, 0.8)]
    cells = measured.cells_of(lines)
    assert measured.values(cells, ("strict", "din", "none", ""), "auc") == {1: 0.8}


def test_nothing_measured_names_the_verb(kept: Path) -> None:
    with pytest.raises(LlmcfError, match="run `llmcf backfill ranking --dataset amazon-beauty"):
        ranking_report.report(BEAUTY)


def test_holm_by_hand() -> None:
    nan = float("nan")
    assert holm([0.01, nan, 0.04, 0.03]) == pytest.approx([0.03, nan, 0.06, 0.06], nan_ok=True)
    assert holm([0.9, 0.8]) == [1.0, 1.0]


@pytest.mark.parametrize("changes", [{"model": "gone"}, {"variant": "gone"}, {"framework": "gone"}, {"recipe": "gone"}])
def test_a_line_of_a_name_that_is_no_more_is_left_out(changes: dict[str, str]) -> None:
    """docs/add-a-backbone.md has people make lines of backbones that may go again."""
    ws = Workspace("movielens-100k", "shuffled-ties")
    config = resolve(ws, model="deepfm", framework="none", recipe="strict", seed=1)
    stored = json.loads(json.dumps(asdict(config)))
    assert ranking_cells.of_today(ws, stored)
    assert ranking_matrix._same(stored, config)
    assert not ranking_cells.of_today(ws, stored | changes)
    assert not ranking_matrix._same(stored | changes, config)
