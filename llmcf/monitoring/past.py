"""A day that is measured again after a later one: what could be known at its time alone stays as it was found then."""

from datetime import UTC, datetime
from typing import Any

from core.settings import LATEST, Workspace
from llmcf.monitoring import online, shown
from llmcf.monitoring.figures import Figure, Part
from llmcf.monitoring.history import Line

OF_ITS_TIME = {  # by part: its figures, and what they are of
    online.NAME: ({"online_hours", "materialized_hours", "expired"}, "the online store"),
    shown.NAME: ({"shown", "coverage", "gini", "popularity_lift"}, "what is recommended"),
}


def is_past(ws: Workspace, lines: list[Line]) -> bool:
    """Whether a later day has been monitored already; `latest` is no day."""
    return ws.as_of != LATEST and any(line["as_of"] > ws.as_of for line in lines if line["as_of"] != LATEST)


def part(name: str, first: Line | None) -> Part:
    """A part of OF_ITS_TIME as the day's own line has it; without one it is missing."""
    names, what = OF_ITS_TIME[name]
    found: list[dict[str, Any]] = [one for one in first["figures"] if one["name"] in names] if first else []
    if first is None or not found:
        return Part(name=name, missing=[f"{what}: not measured any more, as a later day has been monitored"])
    moment = f"{datetime.fromtimestamp(first['time'], UTC):%Y-%m-%d %H:%M} UTC"
    figures = [Figure.from_json(one) for one in found]
    return Part(name=name, figures=figures, facts=[f"As it was found at {moment}: a later day has been monitored."])
