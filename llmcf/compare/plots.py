"""The picture of a comparison, drawn without a display, as SVG."""

from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

from llmcf.compare.paired import BETTER_BELOW, HEADLINE, Pair
from llmcf.reports.plot_style import ACCENT, GOOD, INK, PALE, STYLE


def gaps(one: Pair, path: Path) -> str:
    """The headline metric's difference over all rows and by segment, each with its interval; return the file's name."""
    name = HEADLINE[one.stage]
    shown = {"all common rows": one.whole[name], **one.segments}
    with mpl.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(8, 0.7 + 0.34 * len(shown)), layout="constrained")
        for place, two in enumerate(shown.values()):
            assert two.low is not None and two.high is not None
            better = (two.gap > 0) != (name.split()[0] in BETTER_BELOW)
            colour = INK if not two.differs else GOOD if better else ACCENT
            axis.plot([two.low, two.high], [place, place], color=colour, lw=2)
            axis.plot(two.gap, place, "o", color=colour, ms=7 if place == 0 else 5)
        axis.axvline(0, color=PALE, lw=1)
        axis.set_yticks(range(len(shown)), [f"{part} ({two.rows:,})" for part, two in shown.items()])
        axis.invert_yaxis()
        axis.set_xlabel(f"{name}, second less first")
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)
    return path.name
