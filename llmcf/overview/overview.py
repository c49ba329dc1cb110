"""`llmcf report`: all that is measured of a data set and order as one page, and what is not, with the verb for it."""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from core import machine, measurements, settings
from core.data.tables import remedy
from core.errors import Missing
from core.result import Result
from core.settings import LATEST, Workspace
from llmcf.overview import days, monitored
from llmcf.reports import cot, matrix_page, ranking, recgen, retrieval
from llmcf.reports.section import Section, measured_by

_PARTS: Mapping[str, Callable[[Workspace, Path], Section]] = {
    "Ranking": ranking.section,
    "Retrieval": retrieval.section,
    "Tuning the language model": lambda ws, folder: recgen.section(ws, folder, of_order=True),
    "Chains of thought": cot.kept,
    "Day by day": days.section,
    "Monitoring": monitored.section,
}
_TASKS = {
    "Ranking": ranking.TASK,
    "Retrieval": retrieval.TASK,
    "Tuning the language model": recgen.TASK,
    "Chains of thought": cot.TASK,
}
_READING = (
    "How to read it: ± is the standard deviation over seeds, brackets hold 95 % intervals, p values are corrected by "
    "Holm within their table, and the paper's figures stand beside ours where it has any. A note says of each table "
    "what its figures are of; the last table of a part says which commands measured them, and where. A click on a "
    "header sorts its table: rising, falling, as it was."
)


def report(ws: Workspace) -> Result:
    """Write report.md, report.html and pictures into runs()/report-<dataset>-<order>-<as of>.

    Raises:
        Missing: if nothing at all is measured.
    """
    start, folder = time.monotonic(), settings.runs() / f"report-{ws.dataset}-{ws.order}-{ws.as_of}"
    parts = [_part(title, ws, folder / _named(title)) for title in _PARTS]
    if not any(part.tables for part in parts):
        raise Missing(f"nothing is measured of {ws.dataset} in the order {ws.order}", remedy(ws, "backfill ranking"))
    as_of = "" if ws.as_of == LATEST else f", as of {ws.as_of}"
    command = remedy(ws, "report")
    made = f"Made by `{command}` on {machine.sentence()}; `llmcf lineage show {folder.name}` walks to the raw data."
    title = f"What is measured of {ws.dataset}, {ws.order}{as_of}"
    matrix_page.write_all(title, parts, folder, verb=command, ws=ws, intro=[_READING, made])
    return Result(
        verb="report",
        workspace=ws,
        seconds=time.monotonic() - start,
        artifacts={"report": str(folder / matrix_page.MARKDOWN), "page": str(folder / matrix_page.HTML)},
        details={
            "measured": {part.title: [table.title for table in part.tables] for part in parts if part.tables},
            "missing": (missing := [what for part in parts for what in part.missing]),
            "text": "\n".join(
                [f"  {part.title}: {len(part.tables)} tables" for part in parts if part.tables]
                + [f"  -- {what}" for what in missing]
            ),
        },
    )


def _part(title: str, ws: Workspace, folder: Path) -> Section:
    """One kind of measurement; where there is none, what would measure it."""
    try:
        part = _PARTS[title](ws, folder)
    except Missing as error:
        said = (
            f"{error.args[0][:1].upper()}{error.args[0][1:]}: `{error.remedy}` is the next step.{_elsewhere(title, ws)}"
        )
        return Section(title=title, made="", folder=folder, missing=[said])
    tables = [*part.tables, *([measured_by(part.lines)] if part.lines else [])]
    return replace(part, title=title, tables=tables)


def _elsewhere(title: str, ws: Workspace) -> str:
    """In which other orders, or as of which other days, the same is measured."""
    if title not in _TASKS:
        return ""
    lines = measurements.read(measurements.file(_TASKS[title], ws.dataset))
    places = {(line["order"], line.get("as_of", LATEST)) for line in lines} - {(ws.order, ws.as_of)}
    told = [order if as_of == LATEST else f"{order} as of {as_of}" for order, as_of in sorted(places)]
    return f" It is measured in {', '.join(told)}." if told else ""


def _named(title: str) -> str:
    return title.lower().replace(" ", "-")
