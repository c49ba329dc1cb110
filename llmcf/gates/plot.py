"""The picture of a check: a strip a figure, with its interval, its bound, the live release and what is left of it."""

from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import Any

from llmcf.gates.deciding import SPECS
from llmcf.reports.plot_style import ACCENT, GOOD, INK, PALE, STYLE
from llmcf.serving.verdicts import FAILED, Gate

_STRIP = 0.62  # inches


def draw(gates: Sequence[Gate], path: Path, *, level: float) -> None:
    """Write the picture of the gates that have a figure."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9, 0.9 + _STRIP * len(gates)), layout="constrained")
        strips: Any = figure.subplots(len(gates), 1, squeeze=False)[:, 0]
        for strip, gate in zip(strips, gates, strict=True):
            _strip(strip, gate)
        figure.suptitle(
            f"dot and thin bar: this release, {level:.0%}; thick bar: live plus the paired difference; "
            "grey line: live; dashed: what the margin allows; red: the bound",
            fontsize=8,
            color=INK,
        )
        figure.savefig(path, format="svg", metadata={"Date": None})


def _strip(axes: Any, gate: Gate) -> None:
    colour, spec = (ACCENT if gate.state == FAILED else GOOD), SPECS[gate.name]
    axes.set_yticks([0], [spec.label])
    axes.set_ylim(-1, 1)
    axes.spines["left"].set_visible(False)
    axes.tick_params(labelsize=8, left=False)
    shown = [_line(axes, gate.bound, ACCENT, "-")]
    if gate.live is not None:
        shown.append(_line(axes, gate.live, PALE, "-"))
    if gate.live is not None and gate.margin is not None:
        sign, scale = -1 if gate.higher else 1, gate.live if spec.relative else 1.0
        shown.append(_line(axes, gate.live + sign * gate.margin * scale, PALE, "--"))
    shown += _bars(axes, gate, colour, gate.live if spec.relative else 1.0)
    seen = [value for value in shown if value is not None and isfinite(value)]
    room = 0.08 * (max(seen) - min(seen)) or 0.5
    axes.set_xlim(min(seen) - room, max(seen) + room)


def _bars(axes: Any, gate: Gate, colour: str, scale: float | None) -> list[float | None]:
    axes.plot([gate.value], [0], "o", color=colour, markersize=5, zorder=3)
    if gate.low is not None and gate.high is not None:
        axes.plot([gate.low, gate.high], [0, 0], color=colour, linewidth=1.2)
    if gate.live is None or gate.gap_low is None or gate.gap_high is None or scale is None:
        return [gate.value, gate.low, gate.high]
    ends = [gate.live + scale * gate.gap_low, gate.live + scale * gate.gap_high]
    axes.plot(ends, [0, 0], color=colour, linewidth=6, alpha=0.45, solid_capstyle="butt")
    return [gate.value, gate.low, gate.high, *ends]


def _line(axes: Any, at: float | None, colour: str, style: str) -> float | None:
    if at is not None:
        axes.axvline(at, color=colour, linestyle=style, linewidth=1.2)
    return at
