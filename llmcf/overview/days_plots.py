"""The picture of days, drawn without a display."""

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

from llmcf.reports.plot_style import ACCENT, GOOD, INK, STYLE

_TITLES = {"auc": "AUC", "ndcg@10": "NDCG@10"}
_COLOURS = (INK, ACCENT, GOOD, "#d68910", "#7d3c98")  # of one release after the other
_TICKS = 12


def draw(whole: Sequence[dict[str, Any]], path: Path) -> str:
    """Write the picture, a panel a figure, a point a day in the colour of its release; returns the file's name."""
    days = sorted({line["day"] for line in whole})
    numbers = sorted({line["release"] for line in whole})
    with mpl.rc_context(STYLE):
        figure, axes = plt.subplots(len(_TITLES), 1, figsize=(10, 5.4), layout="constrained", sharex=True)
        for axis, (name, title) in zip(axes, _TITLES.items(), strict=True):
            for at, number in enumerate(numbers):
                own = [line for line in whole if (line["metric"], line["release"]) == (name, number)]
                _points(axis, [line for line in own if line["value"] is not None], days, number, at)
            axis.set_ylabel(title)
        ticks = range(0, len(days), -(-len(days) // _TICKS))
        axes[-1].set_xticks(ticks, [str(days[at]) for at in ticks], rotation=30, ha="right")
        axes[-1].set_xlim(-0.6, len(days) - 0.4)
        figure.savefig(path, format="svg", metadata={"Date": None})
        plt.close(figure)
    return path.name


def _points(axis: Any, lines: Sequence[dict[str, Any]], days: Sequence[date], number: int, at: int) -> None:
    if not lines:
        return
    place, value = [days.index(line["day"]) for line in lines], [line["value"] for line in lines]
    low = [
        max(0.0, one - (line["low"] if line["low"] is not None else one))
        for one, line in zip(value, lines, strict=True)
    ]
    high = [
        max(0.0, (line["high"] if line["high"] is not None else one) - one)
        for one, line in zip(value, lines, strict=True)
    ]
    colour = _COLOURS[at % len(_COLOURS)]
    axis.errorbar(place, value, yerr=[low, high], fmt="o-", ms=4, lw=1, elinewidth=0.8, color=colour)
    axis.annotate(
        f"release {number}", (place[0], value[0]), (4, 6), textcoords="offset points", color=colour, fontsize=8
    )
