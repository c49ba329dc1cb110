"""Pictures of the retrieval report, drawn without a display, as SVG."""

from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from core.contracts import RECIPES, RETRIEVAL_FRAMEWORKS
from core.segments import SEGMENTS
from core.uncertainty import over_seeds
from llmcf.backfill.retrieval import CONTROL
from llmcf.reports.measured import Cells, Key, values
from llmcf.reports.plot_style import ACCENT, GOOD, INK, PALE, STYLE, backbone_style
from llmcf.reports.retrieval_cells import CONTROLS, NAMES, of_segment
from retrieval_stage.registry import MODELS

_PANELS = {"hit@10": "HIT@10", "ndcg@10": "NDCG@10"}
_COLOURS = {"none": "#7f8c9b", "llm-cf": ACCENT}
_PAPERS = "the paper's"
_PAPER = {"none": "None", "llm-cf": "LLM-CF"}


def draw(cells: Cells, paper: dict[tuple[str, str, str], float], folder: Path) -> dict[str, str]:
    """Write the pictures for which there are runs; return title -> file name."""
    made: dict[str, str] = {}
    for recipe in (name for name in RECIPES if any(key[0] == name for key in cells)):
        made[f"Table 4, {recipe}"] = _table_4(cells, recipe, paper, folder / f"table-4-{recipe}.svg")
        if any((recipe, model, framework, "") in cells for model in MODELS for framework in RETRIEVAL_FRAMEWORKS[1:]):
            title = f"What LLM-CF adds by segment, {recipe}"
            made[title] = _segments(cells, recipe, folder / f"segments-{recipe}.svg")
    return made


def _table_4(cells: Cells, recipe: str, paper: dict[tuple[str, str, str], float], path: Path) -> str:
    """A panel a metric, a group a backbone, a point a framework; the paper's figures as dashes, what needs no training
    as lines."""
    models = [model for model in MODELS if any(key[:2] == (recipe, model) for key in cells)]
    with mpl.rc_context(STYLE):
        figure, axes = plt.subplots(1, len(_PANELS), figsize=(10, 4.2), layout="constrained")
        for axis, (name, title) in zip(axes, _PANELS.items(), strict=True):
            _controls(axis, cells, name)
            for place, framework in enumerate(RETRIEVAL_FRAMEWORKS):
                for group, model in enumerate(models):
                    at = group + (place - 0.5) * 0.24
                    ours = list(values(cells, (recipe, model, framework, ""), name).values())
                    if ours:
                        mean, spread = over_seeds(ours)
                        style = {"fmt": "o", "color": _COLOURS[framework], "ms": 7, "lw": 1.4, "label": framework}
                        axis.errorbar(at, mean, yerr=0.0 if np.isnan(spread) else spread, **style)
                    theirs = paper.get((model, _PAPER[framework], name))
                    if theirs is not None:
                        axis.scatter(at, theirs, marker="_", color=_COLOURS[framework], s=160, linewidths=2)
            axis.scatter([], [], marker="_", color=INK, s=160, linewidths=2, label=_PAPERS)
            axis.set_xticks(range(len(models)), [NAMES[model] for model in models])
            axis.set(ylabel=f"test {title}, seen items taken out", xlim=(-0.6, len(models) - 0.4), ylim=(0, None))
        handles, labels = axes[-1].get_legend_handles_labels()
        once = dict(zip(labels, handles, strict=True))
        shown = [name for name in (*CONTROLS.values(), *RETRIEVAL_FRAMEWORKS, _PAPERS) if name in once]
        _legend(figure, {name: once[name] for name in shown}, loc="outside lower center", ncols=4)
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)
        return path.name


def _controls(axis: Axes, cells: Cells, name: str) -> None:
    for style, (control, title) in zip((":", (0, (1, 4)), "-.", "--", "-"), CONTROLS.items(), strict=True):
        for value in values(cells, (CONTROL, control, "none", ""), name).values():
            axis.axhline(value, color=GOOD, linestyle=style, lw=1, label=title)


def _legend(figure: Figure, of_label: dict[str, Any], **options: Any) -> None:
    figure.legend(list(of_label.values()), list(of_label), frameon=False, labelcolor=INK, **options)


def _segments(cells: Cells, recipe: str, path: Path) -> str:
    """A row a segment, a point a backbone: NDCG@10 of LLM-CF over that without, less one, of the mean over seeds; and a
    line from the least to the most of the seeds."""
    models = [model for model in MODELS if (recipe, model, "llm-cf", "") in cells]
    with mpl.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(9, 4.2), layout="constrained")
        for place, model in enumerate(models):
            shape, colour = backbone_style(place)
            style = {"fmt": shape, "color": colour, "ms": 6, "lw": 1}
            for row, name in enumerate(SEGMENTS):
                gains = _gains(cells, (recipe, model, "llm-cf", ""), (recipe, model, "none", ""), name)
                if gains:
                    mean, low, high = gains
                    at = row + (place - (len(models) - 1) / 2) * 0.18
                    axis.errorbar(mean, at, xerr=[[mean - low], [high - mean]], label=NAMES[model], **style)
        axis.axvline(0, color=PALE, linestyle="--", lw=1)
        for row in range(1, len(SEGMENTS)):
            axis.axhline(row - 0.5, color=PALE, lw=0.4)
        axis.set_yticks(range(len(SEGMENTS)), list(SEGMENTS))
        axis.set_ylim(len(SEGMENTS) - 0.5, -0.5)
        axis.set_xlabel("NDCG@10 with LLM-CF against without, %: mean over seeds, least to most of them")
        handles, labels = axis.get_legend_handles_labels()
        _legend(figure, dict(zip(labels, handles, strict=True)), loc="outside right center")
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)
        return path.name


def _gains(cells: Cells, key: Key, base: Key, segment: str) -> tuple[float, float, float] | None:
    """NDCG@10 of a cell in a segment over another's, in per cent more, of the seeds that both have: the mean's, the
    least seed's, the most's. None without such seeds, or where the other is 0."""
    ours, theirs = (of_segment(cells, one, segment) for one in (key, base))
    seeds = sorted(set(ours) & set(theirs))
    if not seeds or not all(theirs[seed] for seed in seeds):
        return None
    of_seed = [100 * (ours[seed] / theirs[seed] - 1) for seed in seeds]
    mean = 100 * (sum(ours[seed] for seed in seeds) / sum(theirs[seed] for seed in seeds) - 1)
    return mean, min(mean, *of_seed), max(mean, *of_seed)
