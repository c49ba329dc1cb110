"""`llmcf llm due`: whether the language model should be tuned on a day that is not its weekday.

By the last days' monitoring, at most once a week: a drift is an alert every day until a release of later data is live,
and a model that has failed its check would fail it again. Or because its weekday went by without: Airflow may lose the
event of a day, and manifests tell.
"""

from datetime import date, timedelta

from core.errors import LlmcfError, UsageError
from core.result import Result
from core.settings import LATEST, Workspace
from core.steps import STAMP
from llmcf.monitoring import history, limits

_DAYS = 7


class NotDue(LlmcfError):  # noqa: N818 - it is an answer
    """No tuning is due. Its exit code is no other error's, so that a task is skipped by it alone."""

    exit_code = 99


def due(ws: Workspace, weekday: int | None = None) -> Result:
    """Whether one of the last days, up to this one, raised an alert upon which the model is tuned, and none of those
    before it has tuned; or none has since the last weekday whose data were made.

    Args:
        weekday: on which the model is tuned anyway, 1 for Monday; None for none.

    Raises:
        UsageError: for `latest`, which is no day, and for a faulty monitor.toml.
    """
    if ws.as_of == LATEST:
        raise UsageError("--as-of latest is no day; name the day whose tuning is asked about")
    wanted = limits.load(ws.dataset).tune_on
    last = [(date.fromisoformat(ws.as_of) - timedelta(days=back)).isoformat() for back in range(_DAYS)]
    found = {line["as_of"]: sorted(wanted.intersection(line["alerts"])) for line in history.read(ws)}
    raised = [f"{day}: {', '.join(found[day])}" for day in last if found.get(day)]
    tuned = next((day for day in last[1:] if _tuned(Workspace(ws.dataset, ws.order, day))), None)
    lost = _lost(ws, weekday, last[1:])
    if lost:
        why = f"{lost} is the day of the week on which a model is tuned, and none was tuned since"
    elif tuned:
        why = f"a model was tuned as of {tuned}, within the last {_DAYS} days"
    else:
        why = "; ".join(raised) or f"no day of the last {_DAYS} raised {' or '.join(sorted(wanted)) or 'any alert'}"
    details = {"due": bool(lost or (raised and tuned is None)), "why": why, "text": f"  {why}"}
    return Result(verb="llm due", workspace=ws, details=details)


def require_due(result: Result) -> None:
    """Raises NotDue if it is not."""
    if not result.details["due"]:
        raise NotDue(f"no tuning is due: {result.details['why']}")


def _lost(ws: Workspace, weekday: int | None, before: list[str]) -> str | None:
    """The last such weekday of the days `before`, newest first, if its rows were made and no model since then."""
    for number, day in enumerate(before):
        if date.fromisoformat(day).isoweekday() == weekday:
            since = [Workspace(ws.dataset, ws.order, one) for one in before[: number + 1]]
            made = since[-1].path("training", STAMP).is_file()
            return day if made and not any(map(_tuned, since)) else None
    return None


def _tuned(ws: Workspace) -> bool:
    return any(ws.path("recgen").glob(f"*/{STAMP}"))
