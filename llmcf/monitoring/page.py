"""The dashboard of a day: one file that needs nothing else."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from core import storage
from core.alerts import Alert
from llmcf.monitoring.figures import Figure, Part
from llmcf.monitoring.judging import Exceeded
from llmcf.monitoring.limits import KINDS, Limits
from llmcf.reports import matrix_page

HEAD = ["figure", "of", "this day", "reference", "by chance", "limit"]
TEMPLATE = Path(__file__).with_name("page.html")
_HOW = {
    "above": "above {}",
    "rise": "a rise of {}",
    "fall": "a fall of {}",
    "relative_fall": "a fall by {:.0%}",
    "relative_change": "a change by {:.0%}",
}


@dataclass(frozen=True, slots=True)
class Row:
    cells: list[str]
    beyond: bool


@dataclass(frozen=True, slots=True)
class Section:
    name: str
    note: str
    rows: list[Row]


def write(
    path: Path,
    *,
    title: str,
    made: str,
    parts: Sequence[Part],
    alerts: Sequence[Alert],
    found: dict[str, list[Exceeded]],
    limits: Limits,
    pictures: dict[str, str],
) -> None:
    """Write the page; `pictures` are SVG by their titles."""
    from jinja2 import Environment, StrictUndefined

    template = Environment(autoescape=True, undefined=StrictUndefined).from_string(TEMPLATE.read_text(encoding="utf-8"))
    beyond = {id(one.figure) for some in found.values() for one in some}
    page = template.render(
        title=title,
        made=made,
        head=HEAD,
        policy=matrix_page.policy(),
        script=matrix_page.script(),
        alerts=alerts,
        missing=[what for part in parts for what in part.missing],
        pictures=pictures,
        parts=[section for part in parts if (section := _section(part, beyond, limits)).rows],
    )
    with storage.atomic_path(path) as beside:
        beside.write_text(page, encoding="utf-8")


def _section(part: Part, beyond: set[int], limits: Limits) -> Section:
    rows = [Row(list(cells(one, limits)), id(one) in beyond) for one in part.figures]
    return Section(part.name, " ".join(part.facts), sorted(rows, key=lambda row: not row.beyond))


def cells(figure: Figure, limits: Limits) -> Iterator[str]:
    """A row of a table with HEAD."""
    yield figure.name.replace("_", " ")
    yield figure.of
    yield _text(figure.value)
    yield "" if figure.before is None else _text(figure.before)
    yield _text(figure.chance) if figure.chance else ""
    rule = next((rule for rules in KINDS.values() for rule in rules if rule.figure == figure.name), None)
    yield _HOW[rule.how].format(getattr(limits, rule.limit)) if rule else ""


def _text(value: float) -> str:
    if math.isnan(value):
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
