"""Pictures of the ranking report, drawn without a display, as SVG."""

from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from core.contracts import FRAMEWORKS, RECIPES
from core.uncertainty import over_seeds
from llmcf.reports.measured import Cells, values
from llmcf.reports.plot_style import ACCENT, GOOD, INK, PALE, STYLE
from llmcf.reports.ranking_cells import ABLATIONS, BACKBONE_NAMES, FRAMEWORK_NAMES, SWEEP
from ranking.registry import MODELS

_COLOURS: dict[str, str] = dict(zip(FRAMEWORKS, ("#7f8c9b", "#d68910", GOOD, ACCENT, "#7d3c98"), strict=True))


def draw(cells: Cells, paper: dict[tuple[str, str, str], float], folder: Path) -> dict[str, str]:
    """Write the pictures for which there are runs; return title -> file name."""
    made: dict[str, str] = {}
    for recipe in (name for name in RECIPES if any(key[0] == name for key in cells)):
        variants = {key[3] for key in cells if key[0] == recipe} - {""}
        made[f"Test AUC, {recipe}"] = _frameworks(cells, recipe, paper, folder / f"auc-{recipe}.svg")
        if variants & set(ABLATIONS):
            title = f"What LLM-CF loses without a part, {recipe}"
            made[title] = _ablations(cells, recipe, folder / f"ablations-{recipe}.svg")
        if variants & set(SWEEP):
            made[f"Number of examples (Figure 5), {recipe}"] = _sweep(cells, recipe, folder / f"examples-{recipe}.svg")
    return made


def _frameworks(cells: Cells, recipe: str, paper: dict[tuple[str, str, str], float], path: Path) -> str:
    """A group a backbone, a point a framework with its spread over seeds; the paper's figures as dashes."""
    models = [model for model in MODELS if any(key[:2] == (recipe, model) for key in cells)]
    shown = [name for name in FRAMEWORKS if any(key[0] == recipe and key[2] == name for key in cells)]
    with mpl.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(9, 4.2), layout="constrained")
        for place, framework in enumerate(shown):
            colour = _COLOURS[framework]
            for group, model in enumerate(models):
                at = group + (place - (len(shown) - 1) / 2) * 0.14
                ours = list(values(cells, (recipe, model, framework, ""), "auc").values())
                if ours:
                    mean, spread = _over(ours)
                    axis.errorbar(at, mean, yerr=spread, fmt="o", color=colour, ms=7, lw=1.4, label=framework)
                theirs = paper.get((model, FRAMEWORK_NAMES.get(framework, ""), "auc"))
                if theirs is not None:
                    axis.scatter(at, theirs, marker="_", color=colour, s=120, linewidths=2)
        for edge in range(1, len(models)):
            axis.axvline(edge - 0.5, color=PALE, linewidth=0.5)
        axis.scatter([], [], marker="_", color=INK, s=120, linewidths=2, label="the paper's")
        axis.set_xticks(range(len(models)), [BACKBONE_NAMES[model][0] for model in models])
        axis.set(ylabel="test AUC", xlim=(-0.5, len(models) - 0.5))
        _legend(figure, axis, loc="outside right center")
        return _save(figure, path)


def _ablations(cells: Cells, recipe: str, path: Path) -> str:
    """A row a variant, a point a backbone: its AUC less that of LLM-CF, paired by seed, with the seeds' spread."""
    names = [name for name in ABLATIONS if name]
    models = [model for model in MODELS if any((recipe, model, "llm-cf", name) in cells for name in names)]
    with mpl.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(9, 3.6), layout="constrained")
        for place, model in enumerate(models):
            whole = values(cells, (recipe, model, "llm-cf", ""), "auc")
            for row, name in enumerate(names):
                part = values(cells, (recipe, model, "llm-cf", name), "auc")
                gaps = [part[seed] - whole[seed] for seed in part if seed in whole]
                if gaps:
                    mean, spread = _over(gaps)
                    at = row + (place - (len(models) - 1) / 2) * 0.11
                    colour = plt.get_cmap("viridis")(place / 6)
                    label = BACKBONE_NAMES[model][0]
                    axis.errorbar(mean, at, xerr=spread, fmt="o", color=colour, ms=5, lw=1, label=label)
        axis.axvline(0, color=PALE, linestyle="--", linewidth=1)
        axis.set_yticks(range(len(names)), [ABLATIONS[name] for name in names])
        axis.invert_yaxis()
        axis.set(xlabel="AUC less that of LLM-CF (left of the line: the part helps)")
        _legend(figure, axis, loc="outside right center")
        return _save(figure, path)


def _sweep(cells: Cells, recipe: str, path: Path) -> str:
    """AUC over K, a line a backbone, of the seeds that every K has; the unconstrained four as a cross."""
    models = [model for model in MODELS if any((recipe, model, "llm-cf", name) in cells for name in SWEEP if name)]
    with mpl.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(9, 4), layout="constrained")
        for place, model in enumerate(models):
            of_name = {name: values(cells, (recipe, model, "llm-cf", name), "auc") for name in SWEEP}
            ran = {name: of_seed for name, of_seed in of_name.items() if of_seed}
            seeds = set.intersection(*map(set, ran.values()))
            over = {SWEEP[name]: _over([of_seed[seed] for seed in seeds]) for name, of_seed in ran.items() if seeds}
            ks = [int(k) for k in over if k.isdigit()]
            if not ks:
                continue
            mean, spread = zip(*(over[str(k)] for k in ks), strict=True)
            colour, title = plt.get_cmap("viridis")(place / 6), BACKBONE_NAMES[model][0]
            axis.errorbar(ks, mean, yerr=spread, marker="o", ms=4, lw=1.4, color=colour, label=title)
            free = SWEEP["k4-unconstrained"]
            if free in over:
                axis.scatter(4, over[free][0], marker="x", color=colour, s=60, zorder=3, label=free)
        ticks = [int(k) for k in SWEEP.values() if k.isdigit()]
        axis.set(xlabel="in-context examples K", ylabel="test AUC", xticks=ticks)
        _legend(figure, axis, loc="outside right center")
        return _save(figure, path)


def _over(figures: list[float]) -> tuple[float, float]:
    """Mean and standard deviation over seeds, 0 of a single one."""
    mean, spread = over_seeds(figures)
    return mean, 0.0 if np.isnan(spread) else spread


def _legend(of: Figure | Axes, axis: Axes, **place: Any) -> None:
    """Every label of `axis` once."""
    handles, labels = axis.get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    of.legend(list(once.values()), list(once), frameon=False, **place)


def _save(figure: Figure, path: Path) -> str:
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
    return path.name
