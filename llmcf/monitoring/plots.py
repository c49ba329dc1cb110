"""Pictures of a day, drawn without a display, as SVG text."""

import io
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Picture
from matplotlib.patches import Patch

from core.drift import COSINES
from llmcf.monitoring import examples, history
from llmcf.monitoring.figures import Figure, Part
from llmcf.monitoring.history import Line
from llmcf.monitoring.limits import KINDS, Limits
from llmcf.reports.plot_style import ACCENT, GOOD, INK, PALE, STYLE

_MOST_FEATURES = 30
_HISTOGRAMS = 6
_GAPS = ("missing", "new", "new_keys")
_SEEN = 0.001  # shares below cannot be seen
_LABEL = 26  # signs of a bin's name
_DAYS = 12  # that are written below an axis
# Over days: the figure, how it is called, and the limit that is drawn where the alert is on the value itself.
_OVER_DAYS = {
    "psi": ("stability index, the highest of all features", "psi"),
    "missing": ("missing values, the highest share", ""),
    "centre_shift": ("shift of text vectors", "centre_shift"),
    "similarity": ("similarity of the best example", ""),
    "flagged": ("texts with a fault, the highest share", ""),
    "ece": ("calibration error", "ece"),
    "auc": ("AUC", ""),
    "coverage": ("share of the catalogue that is recommended", ""),
    "popularity_lift": ("popularity lift", ""),
    "online_hours": ("age of what is online, hours", "online_hours"),
}


def draw(parts: Sequence[Part], lines: Sequence[Line], limits: Limits) -> Iterator[tuple[str, str]]:
    """Titles and pictures of what was found, and of all days together."""
    by_name = {part.name: part for part in parts}
    drawn: dict[str, Any] = {name: part.drawn for name, part in by_name.items()}
    figures = [figure for part in parts for figure in part.figures]
    indices = sorted((one for one in figures if one.name == "psi"), key=lambda one: -one.value)
    if indices:
        yield "Features: stability index against the reference", _picture(_psi, indices[:_MOST_FEATURES], limits)
        bins = drawn["features"]["bins"]
        most = [one.of for one in indices[:_HISTOGRAMS]]
        yield "The features that moved most", _picture(_histograms, {name: bins[name] for name in most})
    if gaps := [one for one in figures if one.name in _GAPS and max(one.value, one.before or 0) >= _SEEN]:
        yield "Missing and new values", _picture(_shares, gaps)
    if cosines := drawn.get("vectors", {}).get("cosines"):
        yield "Text vectors: cosine with their centre", _picture(_cosines, cosines)
    if similarity := drawn.get("examples", {}).get("similarity"):
        yield "Similarity of the nearest in-context example", _picture(_similarity, similarity)
    if reliability := drawn.get("scores", {}).get("reliability"):
        yield "Calibration of the ranker", _picture(_calibration, reliability)
    if exposure := drawn.get("recommended", {}).get("exposure"):
        yield "What is recommended", _picture(_exposure, exposure, drawn["recommended"]["popularity"])
    if (over := over_days(lines, limits)) is not None:
        yield "Over the days", over


def over_days(lines: Sequence[Line], limits: Limits) -> str | None:
    """All days together as SVG text; None of fewer than two, and where nothing of them can be drawn."""
    told = any(history.series(list(lines), name) for name in _OVER_DAYS)
    return _picture(_over_days, lines, limits) if len(lines) > 1 and told else None


def _picture(paint: Callable[..., Picture], *shown: Any) -> str:
    with mpl.rc_context(STYLE):
        picture, text = paint(*shown), io.StringIO()
        picture.savefig(text, format="svg", metadata={"Date": None})
        plt.close(picture)
    return text.getvalue()[text.getvalue().index("<svg") :]


def _psi(indices: Sequence[Figure], limits: Limits) -> Picture:
    picture, axis = plt.subplots(figsize=(9, 0.6 + 0.24 * len(indices)), layout="constrained")
    names = [one.of for one in indices]
    over = [one.value > max(limits.psi, one.chance) for one in indices]
    axis.barh(names, [one.value for one in indices], color=[ACCENT if one else INK for one in over], height=0.7)
    axis.plot([one.chance for one in indices], names, "|", color=GOOD, ms=9, mew=1.6, label="what chance may explain")
    axis.axvline(limits.psi, color=ACCENT, linestyle="--", lw=1, label=f"limit {limits.psi:g}")
    axis.set_xscale("symlog", linthresh=limits.psi or 0.1)  # one that moved away leaves the others visible
    axis.set(xlabel="population stability index", xlim=(0, None), ylim=(len(names) - 0.5, -0.5))
    picture.legend(frameon=False, loc="outside upper right", ncols=2)
    return picture


def _histograms(bins: dict[str, tuple[list[str], list[int], list[int]]]) -> Picture:
    rows = -(-len(bins) // 3)
    picture, axes = plt.subplots(rows, 3, figsize=(11, 2.9 * rows), layout="constrained", squeeze=False)
    for axis, (name, (labels, before, now)) in zip(axes.flat, bins.items(), strict=False):
        place = np.arange(len(labels))
        for shift, counts, colour in ((-0.2, before, PALE), (0.2, now, INK)):
            axis.bar(place + shift, np.array(counts) / max(1, sum(counts)), 0.4, color=colour)
        axis.set_title(name, fontsize=9)
        axis.set_xticks(place, [_short(label) for label in labels], rotation=90, fontsize=6)
        axis.set_ylabel("share", fontsize=8)
    for axis in axes.flat[len(bins) :]:
        axis.set_visible(False)
    handles = [Patch(color=colour) for colour in (PALE, INK)]
    picture.legend(handles, ["reference", "this day"], frameon=False, loc="outside upper right", ncols=2)
    return picture


def _short(text: str) -> str:
    return text if len(text) <= _LABEL else text[: _LABEL - 1] + "…"


def _shares(gaps: Sequence[Figure]) -> Picture:
    names = [f"{one.name.replace('_', ' ')}: {one.of}" for one in gaps]
    picture, axis = plt.subplots(figsize=(9, 0.8 + 0.24 * len(gaps)), layout="constrained")
    place = np.arange(len(gaps))
    axis.barh(place, [one.value for one in gaps], color=INK, height=0.55, label="this day")
    there = [(at, one.before) for at, one in enumerate(gaps) if one.before is not None]
    if there:
        axis.plot([before for _, before in there], [at for at, _ in there], "D", color=PALE, ms=5, label="reference")
    axis.set_yticks(place, names)
    axis.set(xlabel="share", xlim=(0, None), ylim=(len(gaps) - 0.5, -0.5))
    picture.legend(frameon=False, loc="outside upper right", ncols=2)
    return picture


def _cosines(cosines: dict[str, tuple[list[int] | None, list[int]]]) -> Picture:
    picture, axes = plt.subplots(1, len(cosines), figsize=(4.8 * len(cosines), 3), layout="constrained", squeeze=False)
    for axis, (name, (before, now)) in zip(axes.flat, cosines.items(), strict=True):
        _stairs(axis, before, now, COSINES)
        axis.set(title=name, xlabel="cosine with the mean vector", ylabel="share")
    return picture


def _similarity(counts: Sequence[list[int] | None]) -> Picture:
    picture, axis = plt.subplots(figsize=(6, 3), layout="constrained")
    _stairs(axis, counts[0], counts[1] or [], examples.BINS)
    axis.set(xlabel="similarity of the nearest example", ylabel="share of the interactions")
    return picture


def _stairs(axis: Axes, before: list[int] | None, now: list[int], edges: np.ndarray) -> None:
    """Shares of both by bins, from the first that holds something to the last."""
    both = np.array(now) + (np.array(before) if before else 0)
    filled = np.flatnonzero(both)
    low, high = max(0, filled[0] - 1), min(len(both), filled[-1] + 2)
    span = edges[low : high + 1]
    if before:
        axis.stairs(np.array(before)[low:high] / sum(before), span, color=PALE, fill=True, label="reference")
    axis.stairs(np.array(now)[low:high] / sum(now), span, color=INK, lw=1.6, label="this day")
    axis.legend(frameon=False)


def _calibration(bins: Sequence[tuple[float, float, int]]) -> Picture:
    picture, axis = plt.subplots(figsize=(4.6, 4.2), layout="constrained")
    score, share, rows = map(np.array, zip(*bins, strict=True))
    error = 1.96 * np.sqrt(share * (1 - share) / rows)
    axis.plot([0, 1], [0, 1], color=PALE, linestyle="--", lw=1)
    axis.errorbar(score, share, yerr=error, fmt="o-", color=INK, ecolor=PALE, ms=5, lw=1.2)
    axis.set(xlabel="mean score of a tenth of the test rows", ylabel="share of positives", xlim=(0, 1), ylim=(0, 1))
    return picture


def _exposure(curve: Sequence[float], popularity: tuple[Sequence[float], Sequence[float]]) -> Picture:
    picture, axes = plt.subplots(1, 2, figsize=(10, 3.4), layout="constrained")
    axes[0].plot([0, 1], [0, 1], color=PALE, linestyle="--", lw=1)
    axes[0].plot(np.linspace(0, 1, len(curve)), curve, color=INK, lw=1.8)
    axes[0].set(xlabel="items, the least shown first", ylabel="share of all places", xlim=(0, 1), ylim=(0, 1))
    place = np.arange(10)
    for shift, shares, colour, name in ((-0.2, popularity[1], PALE, "taken"), (0.2, popularity[0], INK, "recommended")):
        axes[1].bar(place + shift, shares, 0.4, color=colour, label=name)
    axes[1].set_xticks(place, [str(tenth + 1) for tenth in place])
    axes[1].set(xlabel="tenth of the catalogue, the least popular first", ylabel="share")
    axes[1].legend(frameon=False)
    return picture


def _over_days(lines: Sequence[Line], limits: Limits) -> Picture:
    days = [line["as_of"] for line in lines]
    shown = {name: series for name in _OVER_DAYS if (series := history.series(list(lines), name))}
    rows = -(-len(shown) // 2)
    picture, axes = plt.subplots(rows, 2, figsize=(11, 2.1 * rows), layout="constrained", squeeze=False, sharex=True)
    for axis, (name, series) in zip(axes.flat, shown.items(), strict=False):
        title, limit = _OVER_DAYS[name]
        highest = "highest" in title
        axis.set_prop_cycle(color=[INK, ACCENT, GOOD, PALE])
        for of, values in ({"": _highest(series)} if highest else series).items():
            axis.plot(
                [days.index(day) for day, _ in values], [value for _, value in values], "o-", ms=4, lw=1.2, label=of
            )
        if limit:
            axis.axhline(getattr(limits, limit), color=ACCENT, linestyle="--", lw=1)
        _mark_alerts(axis, lines, name)
        axis.set_title(title, fontsize=9)
        axis.set_xlim(-0.5, len(days) - 0.5)
        told = range(0, len(days), -(-len(days) // _DAYS))
        axis.set_xticks(told, [days[place] for place in told], rotation=30, ha="right", fontsize=7)
        if len(series) > 1 and not highest:
            axis.legend(frameon=False, fontsize=7)
    for axis in axes.flat[len(shown) :]:
        axis.set_visible(False)
    return picture


def _highest(series: dict[str, list[tuple[str, float]]]) -> list[tuple[str, float]]:
    """The highest value of each day."""
    found: dict[str, float] = {}
    for values in series.values():
        for day, value in values:
            found[day] = max(found.get(day, value), value)
    return list(found.items())


def _mark_alerts(axis: Axes, lines: Sequence[Line], name: str) -> None:
    """Shade the days on which the figure's kind of alert was raised."""
    kinds = {kind for kind, rules in KINDS.items() if any(rule.figure == name for rule in rules)}
    for place, line in enumerate(lines):
        if kinds & set(line["alerts"]):
            axis.axvspan(place - 0.4, place + 0.4, color=ACCENT, alpha=0.12, lw=0)
