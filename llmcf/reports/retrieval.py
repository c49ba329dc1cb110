"""`llmcf report retrieval`: the paper's Table 4 out of results/retrieval/<data set>.jsonl, beside untrained scores.

A figure of ours is a mean over seeds with its standard deviation, over the whole catalogue and all users of the test
rows; a p value is of the paired t test over the same seeds, corrected by Holm within its table.
"""

import csv
import io
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from core import measurements, settings, storage
from core.contracts import ORDERS, RECIPES, RETRIEVAL_FRAMEWORKS
from core.data.tables import remedy
from core.errors import Missing
from core.result import Result
from core.segments import SEGMENTS
from core.settings import Workspace
from core.uncertainty import holm
from llmcf.backfill.retrieval import CONTROL, TASK
from llmcf.reports import made_of, matrix_page, retrieval_cold
from llmcf.reports.measured import (
    Cells,
    Key,
    Line,
    Table,
    cells_of,
    gap_text,
    in_orders,
    less,
    mean_text,
    of_one_data,
    p_text,
    paired_p,
    values,
)
from llmcf.reports.retrieval_cells import (
    CONTROLS,
    NAMES,
    PAPER,
    VARIANT_NAMES,
    control,
    of_segment,
    of_today,
    paper_figures,
    titles,
)
from llmcf.reports.section import Section
from retrieval_stage.recipes import VARIANTS
from retrieval_stage.registry import MODELS

_PUBLISHED_TEXTS = (
    " LLM-CF reads the main set of chains of thought, whose prompts state no label; the authors' prompt states it."
)
METRICS = ("hit@5", "hit@10", "ndcg@5", "ndcg@10")
MAIN = "ndcg@10"  # what differences and tests are of
_BOTH = {  # title -> metric, split
    "HIT@10": ("hit@10", "test"),
    "unmasked HIT@10": ("hit@10", "test_unmasked"),
    "NDCG@10": ("ndcg@10", "test"),
    "unmasked NDCG@10": ("ndcg@10", "test_unmasked"),
}
_FRAMEWORK_NAMES = {"none": "None", "llm-cf": "LLM-CF"}  # in the paper


def report(ws: Workspace, rows: str = "") -> Result:
    """Render what was measured in the workspace's order: report.md, report.html, retrieval.csv and pictures.

    Args:
        rows: which state of the rows is told of; see `measured.of_one_data`.

    Raises:
        LlmcfError: if nothing was.
    """
    start = time.monotonic()
    found = section(ws, settings.runs() / f"retrieval-{ws.dataset}-{ws.order}", rows)
    return matrix_page.report(found, ws, "report retrieval", start, options=f"--rows {rows}" if rows else "")


def section(ws: Workspace, folder: Path, rows: str = "") -> Section:
    """The same as a part of a page, its pictures and retrieval.csv written into `folder`."""
    from llmcf.reports import retrieval_plots

    measured = [line for line in measurements.read(measurements.file(TASK, ws.dataset)) if line["as_of"] == ws.as_of]
    of_order = [line for line in measured if line["order"] == ws.order]
    lines = of_one_data(ws, [line for line in of_order if of_today(line["config"])], rows)
    if not lines:
        raise Missing(f"nothing is measured on {ws.dataset} in the order {ws.order}", remedy(ws, "backfill retrieval"))
    cells, paper = cells_of(lines), paper_figures(ws.dataset)
    beside = by_order(ws, measured)
    tables = [*tables_of(cells, paper), *beside]
    folder.mkdir(parents=True, exist_ok=True)
    pictures = retrieval_plots.draw(cells, paper, folder)
    with storage.atomic_path(folder / "retrieval.csv") as written:
        written.write_text(_csv(cells), encoding="utf-8")
    others = in_orders(ws, measured, lambda line: of_today(line["config"])) if beside else {}
    used = [*lines, *(line for some in others.values() for line in some)]
    return Section(
        title=f"Retrieval on {ws.dataset}",
        made=matrix_page.made(ws, lines, left_out=len(of_order) - len(lines)),
        folder=folder,
        tables=tables,
        pictures=pictures,
        inputs=made_of.lines(TASK, ws.dataset, used) | made_of.paths(PAPER),
        lines=lines,
        details={"runs": sum(map(len, cells.values())), "tables": [table.title for table in tables]},
    )


def tables_of(cells: Cells, paper: dict[tuple[str, str, str], float]) -> list[Table]:
    """Of each recipe that has runs: Table 4, unmasked, variants of LLM-CF, segments, cold rows, what is recommended."""
    found = []
    for recipe in (name for name in RECIPES if any(key[0] == name for key in cells)):
        keys = _keys(cells, recipe)
        found += [_table_4(cells, recipe, keys, paper), _unmasked(cells, recipe, keys)]
        if any(key[0] == recipe and key[3] for key in cells):
            found.append(_variants(cells, recipe))
        if any("tower" in line["metrics"] for key in keys for line in cells[key].values()):
            found.append(_blended(cells, recipe, keys))
        found += [
            _by_segment(cells, recipe, keys),
            *retrieval_cold.tables(cells, recipe, keys),
            _recommended(cells, recipe, keys),
        ]
    return found


def by_order(ws: Workspace, lines: Sequence[Line]) -> list[Table]:
    """One table of the cells that were measured in several orders; ties of the published one flatter some of them."""
    of_order = {
        other.order: cells_of(
            of_one_data(other, [line for line in lines if line["order"] == other.order and of_today(line["config"])])
        )
        for other in (replace(ws, order=order) for order in ORDERS)
    }
    models = [key for recipe in RECIPES for key in _models_of(recipe)]
    rows = [
        [key[0], *titles(key), order, str(len(cells[key])), *_both(cells, key)]
        for key in [*_controls(), *models]
        if sum(key in cells for cells in of_order.values()) > 1
        for order, cells in of_order.items()
        if key in cells
    ]
    note = (
        "The same cell on the data's orders, seen items taken out, and left in (unmasked); mean ± standard deviation "
        "over seeds. Rows and splits differ between orders."
    )
    head = ["recipe", "backbone", "framework", "order", "seeds", *_BOTH]
    return [Table("By order", note, head, rows)] if rows else []


def _table_4(cells: Cells, recipe: str, keys: Sequence[Key], paper: dict[tuple[str, str, str], float]) -> Table:
    tests = [paired_p(cells, key, _plain(key), MAIN) for key in keys]
    rows = [
        [
            *titles(key),
            str(len(cells[key])),
            *(text for name in METRICS for text in _beside_paper(cells, key, name, paper)),
            gap_text(less(cells, key, _plain(key), MAIN)) if key != _plain(key) else "",
            p_text(corrected),
        ]
        for key, corrected in zip(keys, holm(tests), strict=True)
    ]
    metrics = [text for name in METRICS for text in (name.upper(), *(["paper"] if paper else []))]
    note = (
        f"Recipe `{recipe}`. All users' test rows, the whole catalogue, the user's seen items taken out; mean ± "
        f"standard deviation over seeds{', beside it the figure of the paper' if paper else ''}. Differences are "
        "paired by seed, with the 95 % interval of their mean. "
    )
    note += _tested(tests, "a backbone with LLM-CF against without") + " The first rows were trained on nothing."
    note += _PUBLISHED_TEXTS if recipe == "paper" else ""
    head = ["backbone", "framework", "seeds", *metrics, "NDCG@10 less none's", "p"]
    return Table(f"Table 4, {recipe}", note, head, rows)


def _tested(p: Sequence[float], what: str) -> str:
    """Which tests a table's p values are of, and how they are corrected."""
    tests = int(np.isfinite(p).sum())
    if not tests:
        return f"There is no p: a test, {what}, takes two seeds."
    return (
        "p is of the paired t test of NDCG@10 over seeds, after Holm's correction over all tests of this table, which "
        f"are {tests} ({what}); other metrics are not tested."
    )


def _unmasked(cells: Cells, recipe: str, keys: Sequence[Key]) -> Table:
    rows = [[*titles(key), *_both(cells, key)] for key in keys]
    note = f"Recipe `{recipe}`, the runs of Table 4: the user's seen items taken out, and left in (unmasked)."
    return Table(f"Seen items taken out and left in, {recipe}", note, ["backbone", "framework", *_BOTH], rows)


def _both(cells: Cells, key: Key) -> list[str]:
    """The figures of `_BOTH`."""
    return [mean_text(values(cells, key, name, split)) for name, split in _BOTH.values()]


def _variants(cells: Cells, recipe: str) -> Table:
    keys = [(recipe, model, "llm-cf", variant) for model in MODELS for variant in VARIANTS]
    keys = [key for key in keys if key in cells and any((*key[:3], other) in cells for other in VARIANTS if other)]
    tests = [paired_p(cells, key, (*key[:3], ""), MAIN) for key in keys]
    rows = [
        [
            NAMES[key[1]],
            VARIANT_NAMES[key[3]],
            str(len(cells[key])),
            *(mean_text(values(cells, key, name)) for name in METRICS),
            gap_text(less(cells, key, (*key[:3], ""), MAIN)) if key[3] else "",
            p_text(corrected),
        ]
        for key, corrected in zip(keys, holm(tests), strict=True)
    ]
    for key in (one for one in _controls() if one in cells):
        figures = [mean_text(values(cells, key, name)) for name in METRICS]
        rows.append([*titles(key), str(len(cells[key])), *figures, "", ""])
    head = ["backbone", "variant", "seeds", "HIT@5", "HIT@10", "NDCG@5", "NDCG@10", "NDCG@10 less LLM-CF's", "p"]
    note = f"Recipe `{recipe}`, framework LLM-CF. Differences are paired by seed, with the 95 % interval of their mean."
    note += " " + _tested(tests, "a variant against LLM-CF")
    return Table(f"Variants of LLM-CF, {recipe}", note, head, rows)


def _blended(cells: Cells, recipe: str, keys: Sequence[Key]) -> Table:
    rows = [
        [
            *titles(key),
            *(mean_text(values(cells, key, name, "tower")) for name in ("hit@10", "ndcg@10")),
            *(mean_text(values(cells, key, name)) for name in ("hit@10", "ndcg@10")),
            "; ".join(_weights(line["blend"]) for line in cells[key].values()),
        ]
        for key in keys
        if values(cells, key, MAIN, "tower")
    ]
    for key in (one for one in _controls() if one in cells):
        rows.append(
            [*titles(key), *(mean_text(values(cells, key, name)) for name in ("hit@10", "ndcg@10")), "", "", ""]
        )
    head = ["backbone", "framework", "HIT@10 alone", "NDCG@10 alone", "HIT@10 blended", "NDCG@10 blended", "weights"]
    note = (
        f"Recipe `{recipe}` adds the transition graph's and the texts' evidence to a model's scores, and a constant "
        "to items that no training row has, by weights chosen "
        "on validation rows for each seed, and a release serves the sum; alone are the model's own scores."
    )
    return Table(f"With and without the blend, {recipe}", note, head, rows)


def _weights(chosen: dict[str, float]) -> str:
    return ", ".join(f"{name} {weight:g}" for name, weight in chosen.items())


def _by_segment(cells: Cells, recipe: str, keys: Sequence[Key]) -> Table:
    rows = [[*titles(key), *(mean_text(of_segment(cells, key, name)) for name in SEGMENTS)] for key in keys]
    note = "NDCG@10 on parts of the test rows, seen items taken out; all as of the row's day. They overlap."
    return Table(f"By segment, {recipe}", note, ["backbone", "framework", *SEGMENTS], rows)


def _recommended(cells: Cells, recipe: str, keys: Sequence[Key]) -> Table:
    rows = [
        [
            *titles(key),
            f"{np.mean([line['coverage'] for line in cells[key].values()]):.1%}",
            f"{np.mean([line['mean_popularity'] for line in cells[key].values()]):.1f}",
        ]
        for key in keys
    ]
    note = (
        "Of the test rows' ten best items: the share of the catalogue that comes up for anybody, and how often "
        "training rows had taken a recommended item before the row's day, on average."
    )
    return Table(f"What is recommended, {recipe}", note, ["backbone", "framework", "coverage", "takings"], rows)


def _keys(cells: Cells, recipe: str) -> list[Key]:
    """What Table 4 of a recipe has: what needs no training, then every backbone with every framework."""
    return [key for key in [*_controls(), *_models_of(recipe)] if key in cells]


def _models_of(recipe: str) -> list[Key]:
    return [(recipe, model, framework, "") for model in MODELS for framework in RETRIEVAL_FRAMEWORKS]


def _controls() -> list[Key]:
    return [control(name) for name in CONTROLS]


def _plain(key: Key) -> Key:
    return (*key[:2], "none", "")


def _beside_paper(cells: Cells, key: Key, name: str, paper: dict[tuple[str, str, str], float]) -> list[str]:
    """A metric, and the paper's figure for it if the paper has the data."""
    figure = None if key[0] == CONTROL else paper.get((key[1], _FRAMEWORK_NAMES[key[2]], name))
    ours = mean_text(values(cells, key, name))
    return [ours, "" if figure is None else f"{figure:.4f}"] if paper else [ours]


def _csv(cells: Cells) -> str:
    """Every measured run: a line a seed and split."""
    stream = io.StringIO()
    write = csv.writer(stream, lineterminator="\n")
    write.writerow(["recipe", "backbone", "framework", "variant", "seed", "split", *METRICS, "seconds", "best_epoch"])
    for key, of_seed in sorted(cells.items()):
        for seed, line in sorted(of_seed.items()):
            for split, measured in line["metrics"].items():
                figures: list[Any] = [measured[name] for name in METRICS]
                write.writerow([*key, seed, split, *figures, line["seconds"], line.get("best_epoch", "")])
    return stream.getvalue()
