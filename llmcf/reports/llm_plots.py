"""Pictures of the reports on the language model, drawn without a display."""

from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from llm import quality
from llm.cot import judge
from llmcf.reports.plot_style import ACCENT, GOOD, INK, PALE, STYLE


def cot_quality(found: dict[str, Any], path: Path) -> None:
    """Distributions: lengths, the four parts, ranks of own item and history, copied share, flags."""
    with mpl.rc_context(STYLE):
        figure, axes = plt.subplots(2, 3, figsize=(11, 6), layout="constrained")
        flat = axes.ravel()
        flat[0].hist(found["characters"], bins=40, color=INK)
        flat[0].set(title="length of a text", xlabel="characters", ylabel="texts")
        for part, colour in zip(judge.PARTS, (INK, GOOD, "#d68910", ACCENT), strict=True):
            flat[1].hist(found[part], bins=np.linspace(-0.2, 1, 49), histtype="step", color=colour, label=part, lw=1.4)
        flat[1].set(title="four-part score", xlabel="cosine")
        flat[1].legend(frameon=False, fontsize=8)
        _ranks(flat[2], found)
        flat[3].hist(found["copied"], bins=np.linspace(0, 1, 41), color=INK)
        flat[3].set(title="copied from the facts", xlabel="share of runs of three words", ylabel="texts")
        _by_label(flat[4], found)
        shares = [np.mean([name in some for some in found["flags"]]) for name in quality.FLAGS]
        flat[5].barh(list(quality.FLAGS), shares, color=INK)
        flat[5].set(title="flags", xlabel="share of the texts", xlim=(0, max(0.05, *shares) * 1.15))
        flat[5].invert_yaxis()
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)


def _ranks(axis: Any, found: dict[str, Any]) -> None:
    for name, colour in (("item", INK), ("history", ACCENT)):
        rank = np.sort(1 / found[name][np.isfinite(found[name])])
        axis.step(rank, np.arange(1, len(rank) + 1) / len(rank), color=colour, label=f"its own {name}", lw=1.6)
    axis.set(title="does a text find its own?", xlabel="rank among 1,000 others", ylabel="share of the texts")
    axis.set(xscale="log", ylim=(0, 1.02))
    axis.legend(frameon=False, loc="lower right")


def _by_label(axis: Any, found: dict[str, Any]) -> None:
    bins = np.linspace(-0.1, 1, 45)
    for label, name, colour in ((1, "positives", GOOD), (0, "negatives", PALE)):
        axis.hist(found["relevance"][found["label"] == label], bins=bins, color=colour, alpha=0.7, label=name)
    axis.set(title="relevance by label", xlabel="cosine with what was known", ylabel="texts")
    axis.legend(frameon=False)


_MARKERS = "oXs^vD<>P*dh"


def figure_4(results: list[dict[str, Any]], path: Path) -> None:
    """Recommendation against general ability, a point a method, with intervals; one panel a measure of the latter."""
    with mpl.rc_context(STYLE):
        figure, axes = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained", sharey=True)
        for place, one in enumerate(results):
            y, by_name = one["metrics"]["auc"], {"mmlu": one["metrics"]["mmlu"], "nats": one["against_base"]["nats"]}
            colour = ACCENT if one["method"] in ("recgen", "rec-half-gen") else plt.get_cmap("viridis")(place / 12)
            style = {"fmt": _MARKERS[place % len(_MARKERS)], "color": colour, "ecolor": PALE, "ms": 7, "lw": 0.8}
            for axis, x in zip(axes, by_name.values(), strict=True):
                error = {"xerr": _bars(x), "yerr": _bars(y), "label": one["method"]}
                axis.errorbar(x["estimate"], y["estimate"], **error, **style)
        axes[0].set(xlabel="MMLU accuracy, 5-shot", ylabel="AUC of P(Yes) on held-out rows")
        axes[1].set(xlabel="nats a token of held-out answers, less the base model's (paired; left is better)")
        for axis, untouched in zip(axes, (0.25, 0), strict=True):
            axis.axhline(0.5, color=PALE, linestyle="--", linewidth=1)
            axis.axvline(untouched, color=PALE, linestyle="--", linewidth=1)
        figure.suptitle("Recommendation against general ability (dashed: chance; base model)", x=0.01, ha="left")
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center", frameon=False)
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)


def _bars(interval: dict[str, float]) -> list[list[float]]:
    return [[interval["estimate"] - interval["low"]], [interval["high"] - interval["estimate"]]]
