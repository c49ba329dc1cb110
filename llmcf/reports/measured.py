"""Measured runs by cell, whatever their stage, what of them is compared, and how a table says it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from core import markdown
from core.uncertainty import mean_interval, over_seeds, paired_test

Line = dict[str, Any]
Key = tuple[str, str, str, str]  # recipe, model, framework, variant
Cells = dict[Key, dict[int, Line]]  # seed -> line


def cells_of(lines: Sequence[Line]) -> Cells:
    """The last line of each run, by cell and seed."""
    cells: Cells = {}
    for line in lines:
        config = line["config"]
        key = (config["recipe"], config["model"], config["framework"], config["variant"])
        cells.setdefault(key, {})[config["seed"]] = line
    return cells


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
    """A titled table of texts, for Markdown and HTML alike."""

    title: str
    note: str
    head: list[str]
    rows: list[list[str]]

    def markdown(self) -> list[str]:
        return [f"## {self.title}", "", self.note, "", *markdown.table(self.head, self.rows), ""]


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
