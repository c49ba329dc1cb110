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
from llmcf.plot_style import ACCENT, GOOD, INK, PALE, STYLE
from llmcf.ranking_cells import ABLATIONS, BACKBONE_NAMES, FRAMEWORK_NAMES, SWEEP, Cells, values
from ranking.recipes import MODELS

_COLOURS: dict[str, str] = dict(zip(FRAMEWORKS, (PALE, "#d68910", GOOD, ACCENT, "#7d3c98"), strict=True))
_PAPER = {"marker": "_", "color": INK, "s": 160, "linewidths": 1.6, "zorder": 3}


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
    """A group of bars a backbone, a bar a framework, error bars over seeds; the paper's figures as dashes."""
    models = [model for model in MODELS if any(key[:2] == (recipe, model) for key in cells)]
    shown = [name for name in FRAMEWORKS if any(key[0] == recipe and key[2] == name for key in cells)]
    width = 0.8 / len(shown)
    with mpl.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(11, 4.2), layout="constrained")
        shown_aucs: list[float] = []
        for place, framework in enumerate(shown):
            for group, model in enumerate(models):
                ours = list(values(cells, (recipe, model, framework, ""), "auc").values())
                at = group + (place - (len(shown) - 1) / 2) * width
                if ours:
                    spread = float(np.std(ours, ddof=1)) if len(ours) > 1 else 0.0
                    error = {"ecolor": INK, "error_kw": {"lw": 1}}
                    mean, colour = float(np.mean(ours)), _COLOURS[framework]
                    axis.bar(at, mean, width * 0.9, yerr=spread, color=colour, label=framework, **error)
                    shown_aucs += [mean - spread, mean + spread]
                theirs = paper.get((model, FRAMEWORK_NAMES.get(framework, ""), "auc"))
                if theirs is not None:
                    axis.scatter(at, theirs, label="the paper", **_PAPER)
                    shown_aucs.append(theirs)
        axis.set_xticks(range(len(models)), [BACKBONE_NAMES[model][0] for model in models])
        axis.set(ylabel="AUC", ylim=(np.floor(min(shown_aucs) * 100 - 0.5) / 100, max(shown_aucs) + 0.002))
        _legend(axis, axis, ncols=len(shown) + 1, loc="upper left", bbox_to_anchor=(0, 1.12))
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
                    spread = np.std(gaps, ddof=1) if len(gaps) > 1 else 0.0
                    at = row + (place - (len(models) - 1) / 2) * 0.11
                    colour = plt.get_cmap("viridis")(place / 6)
                    label = BACKBONE_NAMES[model][0]
                    axis.errorbar(np.mean(gaps), at, xerr=spread, fmt="o", color=colour, ms=5, lw=1, label=label)
        axis.axvline(0, color=PALE, linestyle="--", linewidth=1)
        axis.set_yticks(range(len(names)), [ABLATIONS[name] for name in names])
        axis.invert_yaxis()
        axis.set(xlabel="AUC less that of LLM-CF (left of the line: the part helps)")
        _legend(figure, axis, loc="outside right center")
        return _save(figure, path)


def _sweep(cells: Cells, recipe: str, path: Path) -> str:
    """AUC over K, a line a backbone; the unconstrained four as a cross."""
    counts = {name: int(title) for name, title in SWEEP.items() if title.isdigit()}
    models = [model for model in MODELS if any((recipe, model, "llm-cf", name) in cells for name in counts if name)]
    with mpl.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(9, 4), layout="constrained")
        for place, model in enumerate(models):
            points = {
                k: list(values(cells, (recipe, model, "llm-cf", name), "auc").values()) for name, k in counts.items()
            }
            known = sorted(k for k, aucs in points.items() if aucs)
            mean = [float(np.mean(points[k])) for k in known]
            spread = [float(np.std(points[k], ddof=1)) if len(points[k]) > 1 else 0.0 for k in known]
            colour = plt.get_cmap("viridis")(place / 6)
            axis.errorbar(
                known, mean, yerr=spread, marker="o", ms=4, lw=1.4, color=colour, label=BACKBONE_NAMES[model][0]
            )
            free = list(values(cells, (recipe, model, "llm-cf", "k4-unconstrained"), "auc").values())
            if free:
                axis.scatter(4, np.mean(free), marker="x", color=colour, s=60, label="4, unconstrained", zorder=3)
        axis.set(xlabel="in-context examples K", ylabel="test AUC", xticks=sorted(counts.values()))
        _legend(figure, axis, loc="outside right center")
        return _save(figure, path)


def _legend(of: Figure | Axes, axis: Axes, **place: Any) -> None:
    """Every label of `axis` once."""
    handles, labels = axis.get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    of.legend(list(once.values()), list(once), frameon=False, **place)


def _save(figure: Figure, path: Path) -> str:
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
    return path.name
