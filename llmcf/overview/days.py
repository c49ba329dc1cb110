"""The part of the page about days: what their releases were worth, over time, by release and for whom."""

from collections.abc import Sequence
from datetime import date, timedelta
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from core import storage
from core.data import tables
from core.errors import LlmcfError, Missing
from core.settings import LATEST, Workspace
from llmcf.daily import partitions
from llmcf.daily.choosing import date_of
from llmcf.daily.figures import COVERAGE, NAMES
from llmcf.lineage.pages import metrics_id
from llmcf.reports.measured import Table
from llmcf.reports.section import Section

PICTURE = "days.svg"
SHOWN = ("auc", "ndcg@10")  # with intervals, and drawn
_ALL = ("all", "all")
_HEAD = [{"logloss": "LogLoss", COVERAGE: COVERAGE}.get(name, name.upper()) for name in NAMES]
_RANKED = ("hit@10", "ndcg@10", COVERAGE)
Line = dict[str, Any]


def section(ws: Workspace, folder: Path) -> Section:
    """The figures of all days before the workspace's; the picture is drawn into `folder`.

    Raises:
        Missing: if no day is measured.
    """
    from llmcf.overview import days_plots

    last = None if ws.as_of == LATEST else date.fromisoformat(ws.as_of) - timedelta(days=1)
    lines = partitions.read(ws.dataset, ws.order, None, last).to_pylist()
    scored, missing = _newest([line for line in lines if line["missing"] is None]), _missing(lines)
    if not lines:
        raise Missing(f"no day of {ws.dataset}, {ws.order}, is measured (llmcf backfill metrics)", _remedy(ws))
    folder.mkdir(parents=True, exist_ok=True)
    whole = [line for line in scored if _part(line) == _ALL]
    pictures = {"By day, with 95 % intervals": days_plots.draw(whole, folder / PICTURE)} if whole else {}
    return Section(
        title="Day by day",
        made=_made(ws, lines, scored),
        folder=folder,
        tables=_tables(scored, missing),
        pictures=pictures,
        missing=[_unscored(ws, missing)] if missing else [],
        inputs={metrics_id(path): storage.sha256(path) for path in _files(ws, {line["day"] for line in scored})},
    )


def _newest(lines: Sequence[Line]) -> list[Line]:
    """Those of each day's release of the latest days, as several may have measured it."""
    best: dict[date, tuple[date, int]] = {}
    for line in lines:
        known = line["known_until"], line["release"]
        best[line["day"]] = max(best.get(line["day"], known), known)
    return [line for line in lines if (line["known_until"], line["release"]) == best[line["day"]]]


def _missing(lines: Sequence[Line]) -> list[Line]:
    scored = {line["day"] for line in lines if line["missing"] is None}
    return [line for line in lines if line["missing"] is not None and line["day"] not in scored]


def _part(line: Line) -> tuple[str, str]:
    return line["dimension"], line["segment"]


def _tables(scored: Sequence[Line], missing: Sequence[Line]) -> list[Table]:
    found = []
    if scored:
        whole = [line for line in scored if _part(line) == _ALL]
        found = [_by_day(whole), _by_release(whole), _by_segment(scored)]
    if missing:
        rows = [[str(line["day"]), line["missing"]] for line in missing]
        found.append(Table("Days without figures", "No release could be asked.", ["day", "why"], rows))
    return found


def _by_day(whole: Sequence[Line]) -> Table:
    rows = []
    for day, some in groupby(whole, key=lambda line: line["day"]):
        of_day = list(some)
        first, by_metric = of_day[0], {line["metric"]: line for line in of_day}
        told = [str(first[name]) for name in ("release", "known_until", "requests", "users")]
        rows.append([str(day), *told, *(_cell(by_metric.get(name)) for name in NAMES)])
    note = (
        "Everything that was taken on the day, each beside one negative; HIT, NDCG and coverage are of what the "
        "release recommends among all that its search may find. 95 % intervals are over users."
    )
    return Table("By day", note, ["day", "release", "knows days before", "requests", "users", *_HEAD], rows)


def _cell(line: Line | None) -> str:
    if line is None or line["value"] is None:
        return ""
    bounds = line["metric"] in SHOWN and line["low"] is not None and line["high"] is not None
    return f"{line['value']:.4f}" + (f" [{line['low']:.4f}, {line['high']:.4f}]" if bounds else "")


def _by_release(whole: Sequence[Line]) -> Table:
    rows = []
    for number in sorted({line["release"] for line in whole}):
        own = [line for line in whole if line["release"] == number]
        days = sorted({line["day"] for line in own})
        rows.append([str(number), str(days[0]), str(days[-1]), str(len(days)), *_means(own)])
    note = (
        "Means over the days that a release was asked about, each day by its requests (AUC to ECE: by its rows). "
        "Releases answered on different days: `llmcf compare release:1 release:2` holds two against each other on the "
        "same rows."
    )
    return Table("By release", note, ["release", "from", "to", "days", *_HEAD], rows)


def _by_segment(scored: Sequence[Line]) -> Table:
    rows = []
    for dimension, segment in dict.fromkeys(map(_part, scored)):
        own = [line for line in scored if _part(line) == (dimension, segment)]
        sizes = {line["day"]: line["requests"] for line in own}
        rows.append([dimension, segment, str(len(sizes)), f"{sum(sizes.values()):,}", *_means(own)])
    note = (
        "The same means for parts of the rows, by what was known on the row's day; parts overlap, and small ones vary."
    )
    return Table("For whom", note, ["dimension", "segment", "days", "requests", *_HEAD], rows)


def _means(lines: Sequence[Line]) -> list[str]:
    """Of each metric over days, weighted by what a day's figure rests on."""
    told = []
    for name in NAMES:
        own = [line for line in lines if line["metric"] == name and line["value"] is not None]
        weights = [line["requests" if name in _RANKED else "rows"] for line in own]
        told.append(f"{np.average([line['value'] for line in own], weights=weights):.4f}" if sum(weights) else "")
    return told


def _made(ws: Workspace, lines: Sequence[Line], scored: Sequence[Line]) -> str:
    days, measured = sorted({line["day"] for line in lines}), {line["day"] for line in scored}
    verb = tables.remedy(ws, f"backfill metrics --from {days[0]} --to {days[-1]}")
    return (
        f"Days from {days[0]} to {days[-1]}, {len(measured)} of them measured, each by the newest release that was "
        f"trained on strictly earlier days, through the path of a request: `{verb}`."
    )


def _unscored(ws: Workspace, missing: Sequence[Line]) -> str:
    first, last = missing[0]["day"], missing[-1]["day"]
    verb = tables.remedy(ws, f"backfill metrics --from {first} --to {last} --rebuild")
    return f"{len(missing)} days that no release could be asked about; `{verb}` makes removed ones anew."


def _remedy(ws: Workspace) -> str:
    """What measures the newest day that is prepared, or prepares one."""
    try:
        day = date_of(int(tables.interactions(ws)["day"].to_numpy().max()))
    except LlmcfError:
        return tables.remedy(ws, "data prepare")
    return tables.remedy(ws, f"backfill metrics --from {day} --to {day}")


def _files(ws: Workspace, days: set[date]) -> list[Path]:
    found = partitions.root(ws.dataset, ws.order).glob("day=*/release=*.parquet")
    return [path for path in sorted(found) if date.fromisoformat(path.parent.name.removeprefix("day=")) in days]
