"""The part of the page about monitoring: the days that were looked at, their alerts, the figures of the last."""

from dataclasses import replace
from pathlib import Path

from core import steps, storage
from core.data.tables import remedy
from core.errors import Missing
from core.settings import LATEST, Workspace
from llmcf.lineage.pages import monitor_digest, monitor_id
from llmcf.monitoring import history, limits, page, places, plots
from llmcf.monitoring.figures import Figure
from llmcf.reports import made_of
from llmcf.reports.measured import Table
from llmcf.reports.section import Section

PICTURE = "monitoring.svg"


def section(ws: Workspace, folder: Path) -> Section:
    """What `llmcf monitor` found up to the workspace's day; the picture is drawn into `folder`.

    Raises:
        Missing: if it has not run.
    """
    lines = [line for line in history.read(ws) if ws.as_of == LATEST or line["as_of"] <= ws.as_of]
    if not lines:
        raise Missing(f"no day of {ws.dataset}, {ws.order}, is monitored", remedy(ws, "monitor"))
    last, own = lines[-1], limits.load(ws.dataset)
    pictures = {}
    if (drawn := plots.over_days(lines, own.limits)) is not None:
        with storage.atomic_path(folder / PICTURE) as beside:
            beside.write_text(drawn, encoding="utf-8")
        pictures = {"Over the days; days with an alert are shaded": PICTURE}
    of_last = replace(ws, as_of=last["as_of"])
    return Section(
        title="Monitoring",
        made=_made(lines, of_last),
        folder=folder,
        tables=[_days(lines), _figures(last, own.limits)],
        pictures=pictures,
        missing=[f"As of {last['as_of']}: {what}." for what in last["missing"]],
        inputs=made_of.paths(places.history(ws)) | _pages(ws, lines),
    )


def _made(lines: list[history.Line], of_last: Workspace) -> str:
    days, last = f"{len(lines)} {'day' if len(lines) == 1 else 'days'}", lines[-1]
    return (
        f"{days}, the last as of {last['as_of']}, held against {last['reference'] or 'no day'}: "
        f"`{remedy(of_last, 'monitor')}`. docs/runbook.md has an entry for each alert, docs/monitoring.md says what "
        f"each figure is. The day's pictures are in its dashboard: `{steps.name_of(places.page(of_last))}`."
    )


def _pages(ws: Workspace, lines: list[history.Line]) -> dict[str, str]:
    """The dashboards of the days, which know what these were made of."""
    days = [replace(ws, as_of=line["as_of"]) for line in lines]
    return {monitor_id(day): digest for day in days if (digest := monitor_digest(day))}


def _days(lines: list[history.Line]) -> Table:
    rows = [
        [line["as_of"], line["reference"] or "", ", ".join(line["alerts"]) or "none", str(len(line["missing"]))]
        for line in lines
    ]
    return Table("Days and their alerts", "", ["as of", "held against", "alerts", "not measured"], rows)


def _figures(line: history.Line, bounds: limits.Limits) -> Table:
    rows = [list(page.cells(Figure.from_json(one), bounds)) for one in line["figures"]]
    note = (
        "An alert is beyond its limit and beyond what two samples of the same would show by chance; figures without a "
        "limit are for the eye."
    )
    return Table(f"Figures as of {line['as_of']}", note, page.HEAD, rows)
