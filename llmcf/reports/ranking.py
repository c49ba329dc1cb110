"""`llmcf report ranking`: the paper's Tables 3 and 5 and Figure 5 out of results/ranking/<data set>.jsonl.

A figure of ours is a mean over seeds with its standard deviation; a p value is of the paired t test over the same
seeds, corrected by Holm within its table. The paper's own figures stand beside ours.
"""

import csv
import io
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from core import measurements, metrics, settings, storage
from core.contracts import COT_CONTROLS, FRAMEWORKS, ON_SALE, ORDERS, RECIPES
from core.data.tables import remedy
from core.errors import Missing
from core.result import Result
from core.settings import Workspace
from core.uncertainty import holm
from llmcf.backfill.ranking import TASK
from llmcf.reports import made_of, matrix_page, ranking_controls
from llmcf.reports.measured import Cells, Table, cells_of, in_orders, mean_text, of_one_data, p_text, paired_p, values
from llmcf.reports.ranking_cells import (
    ABLATIONS,
    BACKBONE_NAMES,
    FRAMEWORK_NAMES,
    GROWTH,
    PAPER,
    SWEEP,
    of_today,
    paper_figures,
)
from llmcf.reports.section import Section
from ranking.recipes import VARIANTS
from ranking.registry import MODELS

_SPLITS = {"": "test", ", on sale": ON_SALE}


def report(ws: Workspace, rows: str = "") -> Result:
    """Render what was measured in the workspace's order: report.md, report.html, ranking.csv and pictures.

    Args:
        rows: which state of the rows is told of; see `measured.of_one_data`.

    Raises:
        LlmcfError: if nothing was.
    """
    start = time.monotonic()
    found = section(ws, settings.runs() / f"ranking-{ws.dataset}-{ws.order}", rows)
    return matrix_page.report(found, ws, "report ranking", start, options=f"--rows {rows}" if rows else "")


def section(ws: Workspace, folder: Path, rows: str = "") -> Section:
    """The same as a part of a page, its pictures and ranking.csv written into `folder`."""
    from llmcf.reports import ranking_plots, ranking_texts_plots

    measured = [line for line in measurements.read(measurements.file(TASK, ws.dataset)) if line["as_of"] == ws.as_of]
    of_order = [line for line in measured if line["order"] == ws.order]
    lines = of_one_data(ws, [line for line in of_order if of_today(ws, line["config"])], rows)
    if not lines:
        raise Missing(f"nothing is measured on {ws.dataset} in the order {ws.order}", remedy(ws, "backfill ranking"))
    cells, paper = cells_of(lines), paper_figures(ws.dataset)
    content = contents(ws)
    beside = orders_beside(ws, measured)
    tables = [*tables_of(cells, paper, content), *beside]
    folder.mkdir(parents=True, exist_ok=True)
    pictures = ranking_plots.draw(cells, paper, folder) | ranking_texts_plots.draw(cells, content, folder)
    with storage.atomic_path(folder / "ranking.csv") as written:
        written.write_text(_csv(cells), encoding="utf-8")
    used = [line for some in _in_orders(ws, measured).values() for line in some] if beside else []
    return Section(
        title=f"Ranking on {ws.dataset}",
        made=matrix_page.made(ws, lines, left_out=len(of_order) - len(lines)),
        folder=folder,
        tables=tables,
        pictures=pictures,
        inputs=made_of.lines(TASK, ws.dataset, [*lines, *used])
        | made_of.lines("cot", ws.dataset, list(_of_sets(ws).values()))
        | made_of.paths(PAPER),
        lines=lines,
        details={"runs": sum(map(len, cells.values())), "tables": [table.title for table in tables]},
    )


def contents(ws: Workspace) -> dict[str, dict[str, Any]]:
    """What `report cot --keep` last measured of each set of texts in the workspace's order."""
    return {name: line["figures"] for name, line in _of_sets(ws).items()}


def _of_sets(ws: Workspace) -> dict[str, measurements.Line]:
    lines = measurements.read(measurements.file("cot", ws.dataset))
    return {line["set"]: line for line in lines if line["order"] == ws.order and "set" in line}


def _in_orders(ws: Workspace, lines: Sequence[measurements.Line]) -> dict[str, list[measurements.Line]]:
    return in_orders(ws, lines, lambda line: of_today(replace(ws, order=line["order"]), line["config"]))


def tables_of(
    cells: Cells, paper: dict[tuple[str, str, str], float], content: Mapping[str, dict[str, Any]]
) -> list[Table]:
    """Table 3 of each recipe that has runs, then Table 5, its controls and Figure 5 where variants were run."""
    found = []
    for recipe in (name for name in RECIPES if any(key[0] == name for key in cells)):
        found.append(_table_3(cells, recipe, paper))
        variants = {key[3] for key in cells if key[0] == recipe} - {""}
        if variants & set(ABLATIONS):
            found.append(_variants(cells, recipe, "Table 5", ABLATIONS, paper))
        if variants & set(COT_CONTROLS):
            found += ranking_controls.tables(cells, recipe)
            for model in MODELS:
                found += ranking_controls.content_table(cells, model, content, recipe)
        if variants & set(GROWTH):
            found.append(ranking_controls.growth_table(cells, recipe))
        if variants & set(SWEEP):
            found.append(_variants(cells, recipe, "Figure 5", SWEEP, {}))
    return found


def orders_beside(ws: Workspace, lines: Sequence[dict[str, Any]]) -> list[Table]:
    """One table of the cells that were measured in several orders; ties of the published one flatter some of them."""
    of_order = {order: cells_of(some) for order, some in _in_orders(ws, lines).items()}
    keys = [(recipe, model, framework, "") for recipe in RECIPES for model in MODELS for framework in FRAMEWORKS]
    columns = {f"{order}{of}": (order, split) for order in ORDERS for of, split in _SPLITS.items()}
    rows = [
        [key[0], BACKBONE_NAMES[key[1]][0], key[2]]
        + [mean_text(values(of_order[order], key, "auc", split)) for order, split in columns.values()]
        for key in keys
        if sum(key in cells for cells in of_order.values()) > 1
    ]
    note = "Test AUC of the same cell on the data's orders; rows, splits and negatives differ between them."
    return [Table("Orders side by side", note, ["recipe", "backbone", "framework", *columns], rows)] if rows else []


def _table_3(cells: Cells, recipe: str, paper: dict[tuple[str, str, str], float]) -> Table:
    keys = [(recipe, model, framework, "") for model in MODELS for framework in FRAMEWORKS]
    keys = [key for key in keys if key in cells]
    p = holm([paired_p(cells, key, (recipe, key[1], "none", "")) for key in keys])
    rows = []
    for key, corrected in zip(keys, p, strict=True):
        _, model, framework, _ = key
        plain = values(cells, (recipe, model, "none", ""), "auc")
        ours = values(cells, key, "auc")
        gains = [metrics.rel_impr(ours[seed], plain[seed]) for seed in ours if seed in plain]
        theirs = [paper.get((model, FRAMEWORK_NAMES.get(framework, ""), name)) for name in ("auc", "logloss")]
        rows.append(
            [
                BACKBONE_NAMES[model][0],
                framework,
                str(len(ours)),
                mean_text(ours),
                mean_text(values(cells, key, "logloss")),
                f"{np.mean(gains):+.2f}" if gains and framework != "none" else "",
                p_text(corrected),
                mean_text(values(cells, key, "auc", ON_SALE)),
                mean_text(values(cells, key, "gauc")),
                *(f"{figure:.4f}" if figure is not None else "" for figure in theirs),
                _coverage(cells[key]),
            ]
        )
    head = ["backbone", "framework", "seeds", "AUC", "LogLoss", "RelImpr %", "p", "AUC, on sale", "GAUC"]
    note = (
        f"Recipe `{recipe}`. Test rows, mean ± standard deviation over seeds; p is of the AUC against the same "
        "backbone without a framework, by the paired t test, after Holm's correction over this table. On sale: "
        "negatives that somebody had taken before the row's day. Coverage: the share of training rows that have what "
        "a framework reads."
    )
    return Table(f"Table 3, {recipe}", note, [*head, "paper AUC", "paper LogLoss", "coverage"], rows)


def _variants(
    cells: Cells, recipe: str, title: str, names: dict[str, str], paper: dict[tuple[str, str, str], float]
) -> Table:
    """LLM-CF's variants beside LLM-CF, which `names` holds under ""."""
    rows = []
    keys = [(recipe, model, "llm-cf", variant) for model in MODELS for variant in names]
    keys = [key for key in keys if key in cells and any((*key[:3], other) in cells for other in names if other)]
    p = holm([paired_p(cells, key, (*key[:3], "")) for key in keys])
    for key, corrected in zip(keys, p, strict=True):
        _, model, _, variant = key
        whole, ours = values(cells, (*key[:3], ""), "auc"), values(cells, key, "auc")
        gaps = [ours[seed] - whole[seed] for seed in ours if seed in whole]
        row = [
            BACKBONE_NAMES[model][0],
            names[variant],
            str(len(ours)),
            mean_text(ours),
            mean_text(values(cells, key, "logloss")),
            f"{np.mean(gaps):+.4f}" if gaps and variant else "",
            p_text(corrected),
        ]
        if paper:
            figures = [paper.get((model, names[variant], name)) for name in ("auc", "logloss")]
            row += [f"{figure:.4f}" if figure is not None else "" for figure in figures]
        rows.append(row)
    head = ["backbone", "variant", "seeds", "AUC", "LogLoss", "AUC against LLM-CF", "p"]
    note = (
        f"Recipe `{recipe}`, framework LLM-CF; p is of the AUC against LLM-CF as it is, by the paired t test, after "
        "Holm's correction over this table."
    )
    if title == "Figure 5":
        head[1] = "examples K"
        assert set(SWEEP) <= set(VARIANTS)
    return Table(f"{title}, {recipe}", note, head + (["paper AUC", "paper LogLoss"] if paper else []), rows)


def _coverage(of_seed: dict[int, dict[str, Any]]) -> str:
    newest = of_seed[max(of_seed)]["coverage"]
    return ", ".join(f"{name.replace('_', ' ')} {share:.1%}" for name, share in newest.items())


def _csv(cells: Cells) -> str:
    """Every measured run: a line a seed and split."""
    stream = io.StringIO()
    names = ("auc", "logloss", "gauc", "ece")
    write = csv.writer(stream, lineterminator="\n")
    write.writerow(["recipe", "backbone", "framework", "variant", "seed", "split", *names, "seconds", "best_epoch"])
    for key, of_seed in sorted(cells.items()):
        for seed, line in sorted(of_seed.items()):
            for split, measured in line["metrics"].items():
                figures = [measured[name] for name in names]
                write.writerow([*key, seed, split, *figures, line["seconds"], line["best_epoch"]])
    return stream.getvalue()
