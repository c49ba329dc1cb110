"""Measured runs by cell, whatever their stage, what of them is compared, and how a table says it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from core import markdown
from core.contracts import ORDERS
from core.errors import Missing, check_choice
from core.settings import Workspace
from core.uncertainty import mean_interval, over_seeds, paired_test
from llmcf.backfill.cells import agrees, data_of

Line = dict[str, Any]
Key = tuple[str, str, str, str]  # recipe, model, framework, variant
Cells = dict[Key, dict[int, Line]]  # seed -> line


def of_one_data(ws: Workspace, lines: Sequence[Line], rows: str = "") -> list[Line]:
    """Those that were measured on one state of the data, as unlike rows have no mean.

    Of each table of texts or scores, too, the last line's state counts, and of vectors the last line's encoder.

    Args:
        rows: the digest of the state; if empty the workspace's, where it was measured, else the last line's.

    Raises:
        UsageError: if nothing was measured on `rows`.
    """
    if not lines:
        return []
    measured = list(dict.fromkeys(line["data"] for line in lines))
    if rows:
        check_choice("state of the rows", rows, measured)
    else:
        rows = here if (here := _rows_of(ws)) in measured else lines[-1]["data"]
    alike = [line for line in lines if line["data"] == rows]
    last: dict[str, dict[str, str]] = {"of_texts": {}, "encoders": {}}
    for line in alike:
        for kind, told in last.items():
            told |= line.get(kind, {})
    return [line for line in alike if agrees(line, last)]


def in_orders(ws: Workspace, lines: Sequence[Line], today: Callable[[Line], bool]) -> dict[str, list[Line]]:
    """Lines of today's recipes on one state of the data, by the data's order."""
    return {
        order: of_one_data(replace(ws, order=order), [line for line in lines if line["order"] == order and today(line)])
        for order in ORDERS
    }


def _rows_of(ws: Workspace) -> str:
    try:
        return data_of(ws)
    except Missing:
        return ""


def cells_of(lines: Sequence[Line]) -> Cells:
    """The last line of each run, by cell and seed; of a cell in several precisions, those of the last line's."""
    cells: Cells = {}
    precisions: dict[Key, str] = {}
    for line in lines:
        config = line["config"]
        key = (config["recipe"], config["model"], config["framework"], config["variant"])
        precision = _precision(config)
        if precisions.setdefault(key, precision) != precision:
            precisions[key], cells[key] = precision, {}
        cells.setdefault(key, {})[config["seed"]] = line
    return cells


def _precision(config: dict[str, Any]) -> str:
    """What a run with examples, or a backbone that has the choice, multiplied in."""
    parts = [config.get("in_context") or {}] if config["framework"].startswith("llm-cf") else []
    parts += [config, config.get("backbone") or {}]
    return " ".join(str(part["precision"]) for part in parts if part.get("precision"))


def values(cells: Cells, key: Key, name: str, split: str = "test") -> dict[int, float]:
    """A metric of a cell, by seed; empty if it was not measured."""
    return {seed: line["metrics"][split][name] for seed, line in cells.get(key, {}).items() if split in line["metrics"]}


def less(cells: Cells, key: Key, base: Key, name: str) -> list[float]:
    """A metric of a cell less that of another, by the seeds that both have."""
    ours, theirs = values(cells, key, name), values(cells, base, name)
    return [ours[seed] - theirs[seed] for seed in sorted(set(ours) & set(theirs))]


def paired_p(cells: Cells, key: Key, base: Key, name: str = "auc") -> float:
    """Of the paired t test over the seeds that both cells have; NaN of the same cell, and of fewer than two."""
    ours, theirs = values(cells, key, name), values(cells, base, name)
    seeds = sorted(set(ours) & set(theirs))
    if key == base or len(seeds) < 2:
        return float("nan")
    return paired_test([ours[seed] for seed in seeds], [theirs[seed] for seed in seeds]).t_p


@dataclass(frozen=True, slots=True)
class Table:
    """A titled table of texts, for Markdown and HTML alike; its last rows, `foot` of them, sum up the others."""

    title: str
    note: str
    head: list[str]
    rows: list[list[str]]
    foot: int = 0

    @property
    def body(self) -> list[list[str]]:
        return self.rows[: len(self.rows) - self.foot]

    def markdown(self, level: str = "##") -> list[str]:
        return [f"{level} {self.title}", "", self.note, "", *markdown.table(self.head, self.rows), ""]


def p_text(p: float) -> str:
    return "" if np.isnan(p) else "< .0001" if p < 1e-4 else f"{p:.4f}"


def mean_text(of_seed: dict[int, float]) -> str:
    if not of_seed:
        return ""
    mean, spread = over_seeds(list(of_seed.values()))
    return f"{mean:.4f}" + ("" if np.isnan(spread) else f" ± {spread:.4f}")


def gap_text(paired: Sequence[float]) -> str:
    """The mean of paired differences with its 95 % interval; empty for none."""
    if not paired:
        return ""
    low, high = mean_interval(paired)
    return f"{np.mean(paired):+.4f}" + ("" if np.isnan(low) else f" [{low:+.4f}, {high:+.4f}]")
