"""Which workspace holds some days whole. The rows of a day are the same in each that does."""

from datetime import UTC, datetime

from core import steps
from core.data import tables
from core.errors import Missing, UsageError
from core.settings import LATEST, Workspace
from llmcf.daily.choosing import date_of, number_of
from llmcf.workspaces import days_of


def holding(dataset: str, order: str, day: int, as_of: str | None) -> Workspace:
    """The workspace of `as_of`; without one the newest prepared one that holds `day` and all before it.

    Raises:
        Missing: if it is not prepared, or none that is holds the day.
        UsageError: if the day was not over when the named one was prepared, or is not before its as-of day.
    """
    if as_of is not None:
        ws = Workspace(dataset, order, as_of)
        steps.require(ws.path("data"), tables.remedy(ws, "data prepare"))
        if (end := held_until(ws)) is not None and end <= day:
            raise UsageError(
                f"{ws.root} holds the days before {date_of(end)}, and {date_of(day)} is not one of them; "
                "name a later --as-of, or earlier days"
            )
        return ws
    there = [(end, ws.as_of, ws) for ws in days_of(dataset, order) if (end := held_until(ws)) is not None]
    fitting = [one for one in there if one[0] > day]
    if not fitting:
        remedy = tables.remedy(Workspace(dataset, order, str(date_of(day + 1))), "data prepare")
        raise Missing(f"no prepared day of {dataset}, {order}, holds all of {date_of(day)}", remedy)
    return max(fitting)[2]


def held_until(ws: Workspace) -> int | None:
    """The first day that a prepared workspace does not hold whole; None if it is not prepared.

    Events of a day that is not over may still come: what was prepared on a day holds those before it.
    """
    stamp = steps.Step(folder=ws.path("data"), config=None).stamp()
    if stamp is None:
        return None
    made = datetime.fromisoformat(stamp["made"]) if "made" in stamp else datetime.now(UTC)
    end = number_of(made.astimezone(UTC).date().isoformat())
    return end if ws.as_of == LATEST else min(end, number_of(ws.as_of))
