"""Pictures of what texts do for a ranker: controls in their place, their number, their content."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import NullLocator, StrMethodFormatter

from core.uncertainty import mean_interval
from llmcf.reports import ranking_controls as controls
from llmcf.reports.measured import Cells
from llmcf.reports.plot_style import ACCENT, INK, PALE, STYLE, backbone_style
from llmcf.reports.ranking_cells import BACKBONE_NAMES, CONTROLS, GROWTH
from ranking.registry import MODELS


def draw(cells: Cells, content: Mapping[str, dict[str, Any]], folder: Path) -> dict[str, str]:
    """Write the pictures for which there are runs of the recipe `strict`; return title -> file name.

    Args:
        content: the figures of `report cot`, by set.
    """
    made: dict[str, str] = {}
    if controlled := _models(cells, CONTROLS):
        made["LLM-CF with other texts, strict"] = _controls(cells, controlled, folder / "controls-strict.svg")
    if grown := _models(cells, GROWTH):
        made["Gain by number of texts, strict"] = _growth(cells, grown, folder / "growth-strict.svg")
    for model in controlled:
        told = controls.content_and_gain(cells, model, content)
        if len(told) > 2:
            name = BACKBONE_NAMES[model][0]
            made[f"Gain by content of the texts, {name}, strict"] = _content(told, folder / f"content-{model}.svg")
    return made


def _models(cells: Cells, names: Mapping[str, Any]) -> list[str]:
    """The backbones that were run with one of these sets beside the main one."""
    return [model for model in MODELS if any(("strict", model, "llm-cf", name) in cells for name in names if name)]


def _controls(cells: Cells, models: list[str], path: Path) -> str:
    """A row a set, a point a backbone: its AUC less that of the texts as written, paired, with its 95 % interval."""
    titles = {("none", ""): "no LLM-CF"} | {("llm-cf", name): title for name, title in CONTROLS.items() if name}
    shown = [of for of in titles if any(("strict", model, *of) in cells for model in models)]
    with mpl.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(9, 1.2 + 0.42 * len(shown)), layout="constrained")
        axis.axvspan(-controls.MARGIN, controls.MARGIN, color=PALE, alpha=0.3, lw=0, label="margin of equivalence")
        axis.axvline(0, color=INK, lw=1, label="the texts as written")
        for place, model in enumerate(models):
            for row, of in enumerate(shown):
                gaps = controls.gaps(cells, ("strict", model, *of))
                if gaps:
                    at = row + (place - (len(models) - 1) / 2) * 0.2
                    _point(axis, float(np.mean(gaps)), at, mean_interval(gaps), place, BACKBONE_NAMES[model][0])
        axis.set_yticks(range(len(shown)), [titles[of] for of in shown])
        axis.invert_yaxis()
        axis.locator_params(axis="x", nbins=6)
        axis.set_xlabel("test AUC less that of LLM-CF with the texts as written")
        return _save(figure, axis, path)


def _growth(cells: Cells, models: list[str], path: Path) -> str:
    """What LLM-CF adds over the number of texts, a line a backbone, with 95 % intervals."""
    with mpl.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(9, 3.8), layout="constrained")
        for place, model in enumerate(models):
            shape, colour = backbone_style(place)
            found = controls.growth(cells, model)
            means = [float(np.mean(gains)) for gains in found.values()]
            low, high = np.array([mean_interval(gains) for gains in found.values()]).T
            spread = np.nan_to_num([means - low, high - means])
            title = BACKBONE_NAMES[model][0]
            axis.errorbar(list(found), means, yerr=spread, marker=shape, ms=5, lw=1.4, color=colour, label=title)
            axis.set_xscale("log")
            axis.set_xticks(list(found))
        axis.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        axis.xaxis.set_minor_locator(NullLocator())
        axis.axhline(0, color=PALE, lw=1)
        axis.set(xlabel="texts M", ylabel="test AUC more than without LLM-CF")
        return _save(figure, axis, path)


def _content(told: Mapping[str, tuple[dict[str, float], float]], path: Path) -> str:
    """A panel a measure of content, a point a set of texts."""
    names = list(controls.CONTENT)
    with mpl.rc_context(STYLE):
        figure, axes = plt.subplots(1, len(names), figsize=(11, 3.6), sharey=True, layout="constrained")
        for axis, name in zip(axes, names, strict=True):
            for at, (set_name, (figures, gain)) in enumerate(sorted(told.items(), key=lambda one: one[1][1])):
                axis.scatter(figures[name], gain, color=ACCENT if set_name == "" else INK, s=30)
                axis.annotate(
                    set_name or "as written",
                    (figures[name], gain),
                    fontsize=8,
                    xytext=(4, 4 if at % 2 else -9),  # neighbours do not cover each other
                    textcoords="offset points",
                )
            axis.margins(x=0.25)
            axis.set_xlabel(controls.CONTENT[name])
        axes[0].set_ylabel("test AUC more than without LLM-CF")
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)
        return path.name


def _point(axis: Any, mean: float, at: float, interval: tuple[float, float], place: int, label: str) -> None:
    spread = None if np.isnan(interval[0]) else [[mean - interval[0]], [interval[1] - mean]]
    shape, colour = backbone_style(place)
    axis.errorbar(mean, at, xerr=spread, fmt=shape, color=colour, ms=6, lw=1.3, label=label)


def _save(figure: Any, axis: Any, path: Path) -> str:
    handles, labels = axis.get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    figure.legend(list(once.values()), list(once), frameon=False, loc="outside right center")
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
    return path.name
