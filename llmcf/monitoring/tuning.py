"""`llmcf llm due`: whether the language model should be tuned before its weekday, by the last days' monitoring.

At most once a week: a drift is an alert every day until a release of later data is live, and a model that has failed
its check would fail it again.
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


def due(ws: Workspace) -> Result:
    """Whether one of the last days, up to this one, raised an alert upon which the model is tuned, and none of those
    before it has tuned.

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
    if tuned:
        why = f"a model was tuned as of {tuned}, within the last {_DAYS} days"
    else:
        why = "; ".join(raised) or f"no day of the last {_DAYS} raised {' or '.join(sorted(wanted)) or 'any alert'}"
    details = {"due": bool(raised) and tuned is None, "why": why, "text": f"  {why}"}
    return Result(verb="llm due", workspace=ws, details=details)


def require_due(result: Result) -> None:
    """Raises NotDue if it is not."""
    if not result.details["due"]:
        raise NotDue(f"no tuning is due: {result.details['why']}")


def _tuned(ws: Workspace) -> bool:
    return any(ws.path("recgen").glob(f"*/{STAMP}"))
