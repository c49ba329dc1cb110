"""`llmcf data report`: the quality of prepared data as one HTML page, pictures included."""

import time
from pathlib import Path
from typing import Any

from core import machine, settings, steps, storage
from core.data import rejects, tables
from core.result import Result
from core.settings import LATEST, Workspace
from llmcf.reports import made_of
from llmcf.reports.data_facts import QUANTILES, Facts, facts

TEMPLATE = Path(__file__).with_name("data_report.html")


def report(ws: Workspace) -> Result:
    """Write the page into runs()/data-<dataset>-<order>-<as of>/; titles in it are escaped, and it runs no script.

    Raises:
        LlmcfError: if the data is not prepared.
    """
    from llmcf.reports.data_plots import pictures

    start = time.monotonic()
    stamp = steps.require(ws.path("data"), tables.remedy(ws, "data prepare"))
    found = facts(ws)
    page = settings.runs() / f"data-{ws.dataset}-{ws.order}-{ws.as_of}" / "report.html"
    text = render(ws, found, stamp, pictures(found))
    with storage.atomic_path(page) as beside:
        beside.write_text(text, encoding="utf-8")
    verb, inputs = tables.remedy(ws, "data report"), made_of.paths(ws.path("data"))
    made_of.write(page.with_name(made_of.FILE), verb=verb, ws=ws, inputs=inputs, outputs=[page])
    details = {
        "users": found.users,
        "items": found.items,
        "untaken_items": found.untaken,
        "interactions": found.interactions,
        "density": found.density,
        "rows": found.rows,
        "missing": found.missing,
        "same_day": found.same_day,
        "same_day_test": found.same_day_test,
        "late_negatives": found.late,
        "top_fifth": found.top_fifth,
    }
    return Result(
        verb="data report",
        workspace=ws,
        seed=stamp["config"]["seed"],
        seconds=time.monotonic() - start,
        artifacts={"report": str(page)},
        details=details,
    )


def render(ws: Workspace, found: Facts, stamp: dict[str, Any], pictures: dict[str, str]) -> str:
    """The page. `stamp` is step.json of the prepared data; `pictures` are our own SVG, the only text not escaped."""
    from jinja2 import Environment, StrictUndefined

    as_of = "" if ws.as_of == LATEST else f" --as-of {ws.as_of}"
    summary = stamp["summary"]
    template = Environment(autoescape=True, undefined=StrictUndefined).from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(
        dataset=ws.dataset,
        order=ws.order,
        as_of=ws.as_of,
        seed=stamp["config"]["seed"],
        command=f"llmcf data report --dataset {ws.dataset} --order {ws.order}{as_of}",
        machine=machine.sentence(),
        headline=_headline(found),
        table2=summary.get("table2"),
        rejects=[(kind, count, rejects.KINDS[kind]) for kind, count in summary.get("rejects", {}).items()],
        pictures=list(pictures.items()),
        quantiles=[{0.0: "least", 0.5: "median", 1.0: "most"}.get(level, f"{level:.0%}") for level in QUANTILES],
        distributions=[("of a user", _counts(found.of_user)), ("of an item", _counts(found.of_item))],
        same_day=f"{found.same_day:.1%}",
        same_day_test=f"{found.same_day_test:.1%}",
        splits=[(split, f"{n:,}", f"{found.late[split]:.1%}" if n else "") for split, n in found.rows.items()],
        popular=found.popular,
    )


def _headline(found: Facts) -> list[tuple[str, str]]:
    return [
        ("users", f"{found.users:,}"),
        ("items", f"{found.items:,}"),
        ("items on offer that nobody took", f"{found.untaken:,}"),
        ("interactions", f"{found.interactions:,}"),
        ("density", f"{found.density:.3%}"),
        ("sparsity", f"{1 - found.density:.3%}"),
    ]


def _counts(quantiles: dict[float, float]) -> list[str]:
    return [f"{value:,.0f}" for value in quantiles.values()]
