"""Pictures of the data quality report, as SVG text that stands in a page by itself."""

import io

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from core.contracts import HISTORY
from llmcf.reports.data_facts import Facts
from llmcf.reports.plot_style import ACCENT, INK, PALE, STYLE

SIZE = (5.2, 3.1)  # inches


def pictures(facts: Facts) -> dict[str, str]:
    """Title -> SVG."""
    drawn = {
        "Long tail": _long_tail,
        "Interactions over time": _over_time,
        "Length of histories": _histories,
        "Negatives that were not on sale": _late,
        "Missing fields": _missing,
    }
    with mpl.rc_context(STYLE):
        return {title: _svg(draw, facts) for title, draw in drawn.items()}


def _svg(draw, facts: Facts) -> str:
    figure, axis = plt.subplots(figsize=SIZE, layout="constrained")
    draw(axis, facts)
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None}, transparent=True)
    plt.close(figure)
    text = out.getvalue()
    return text[text.index("<svg") :]


def _long_tail(axis: Axes, facts: Facts) -> None:
    counts = facts.item_counts
    axis.loglog(np.arange(1, len(counts) + 1), counts, color=INK, linewidth=1.6)
    head = max(1, len(counts) // 5)
    axis.axvline(head, color=ACCENT, linewidth=1, linestyle="--")
    note = f"the top fifth of the items\nhas {facts.top_fifth:.0%} of all interactions"
    axis.annotate(note, (head, counts[0]), (-6, 0), textcoords="offset points", ha="right", va="top", color=ACCENT)
    axis.set(xlabel="rank of the item", ylabel="interactions")


def _over_time(axis: Axes, facts: Facts) -> None:
    months, counts = facts.months["month"].to_numpy(), facts.months["len"].to_numpy()
    axis.fill_between(months, counts, color=PALE, alpha=0.6, linewidth=0)
    axis.plot(months, counts, color=INK, linewidth=1.4)
    axis.set(ylabel="interactions a month", ylim=(0, None))
    axis.tick_params("x", rotation=30)


def _histories(axis: Axes, facts: Facts) -> None:
    edges = np.unique(np.geomspace(1, facts.user_counts.max() + 1, 30).astype(int))
    axis.hist(facts.user_counts, bins=edges.tolist(), color=INK)
    axis.axvline(HISTORY, color=ACCENT, linewidth=1, linestyle="--")
    note = f"models see the last {HISTORY}"
    axis.annotate(note, (HISTORY, axis.get_ylim()[1]), (5, 0), textcoords="offset points", va="top", color=ACCENT)
    axis.set(xscale="log", xlabel="interactions of the user", ylabel="users")


def _late(axis: Axes, facts: Facts) -> None:
    _bars(axis, facts.late, "share of the negatives")


def _missing(axis: Axes, facts: Facts) -> None:
    _bars(axis, facts.missing, "share of the items without it")


def _bars(axis: Axes, shares: dict[str, float], label: str) -> None:
    bars = axis.barh(list(shares), [100 * share for share in shares.values()], color=INK, height=0.55)
    axis.bar_label(bars, [f"{share:.1%}" for share in shares.values()], padding=4, color=INK)
    axis.invert_yaxis()
    axis.margins(x=0.15)
    axis.set_xlim(left=0)
    axis.set(xlabel=f"{label}, %")
