"""Which day a day is held against."""

from contextlib import suppress
from datetime import date, timedelta

from core.errors import LlmcfError, UsageError
from core.settings import LATEST, Workspace
from core.steps import STAMP
from llmcf.serving import releases
from llmcf.serving.manifest import Release

_WEEK = timedelta(days=7)


def live(dataset: str) -> tuple[Release | None, str]:
    """The live release, or None and why there is none."""
    try:
        release = releases.live(dataset)
    except LlmcfError as error:
        return None, str(error)
    return (release, "") if release else (None, f"no release of {dataset} is live")


def days(dataset: str, order: str) -> list[Workspace]:
    """The workspaces of a data set and order that have features, the oldest day first and `latest` last."""
    found = []
    for folder in Workspace(dataset, order).root.parent.glob("[!.]*"):
        with suppress(UsageError):
            ws = Workspace(dataset, order, folder.name)
            if ws.root == folder and all((folder / part / STAMP).exists() for part in ("data", "features")):
                found.append(ws)
    return sorted(found, key=lambda one: (one.as_of == LATEST, one.as_of))


def choose(ws: Workspace, release: Release | None, asked: str | None) -> tuple[Workspace | None, str]:
    """The reference of a workspace, or None, and why it is that.

    Args:
        asked: an as-of day by name; else it is the live release's if that is earlier. Where a day's own release is
            live, a week ago: from one day to the next a slow drift is never seen. Of a longer gap the newest earlier.

    Raises:
        UsageError: if there is no workspace of the day that is asked for.
    """
    known = days(ws.dataset, ws.order)
    if asked is not None:
        wanted = Workspace(ws.dataset, ws.order, asked)
        if wanted not in known:
            there = ", ".join(one.as_of for one in known) or "none"
            raise UsageError(
                f"--reference {asked!r} is no day with features of {ws.dataset} {ws.order}; there are: {there}"
            )
        return wanted, "it was asked for"
    earlier = [one for one in known if one != ws and _before(one, ws)]
    if release and release.workspace in earlier:
        return release.workspace, f"release {release.number}, which is live, was made of it"
    if ws.as_of != LATEST:
        week = (date.fromisoformat(ws.as_of) - _WEEK).isoformat()
        if of_week := [one for one in earlier if one.as_of >= week]:
            return of_week[0], f"it is the first workspace of the {_WEEK.days} days before"
    if earlier:
        return earlier[-1], "it is the newest earlier workspace"
    return None, "there is no earlier workspace with features"


def _before(one: Workspace, ws: Workspace) -> bool:
    """Whether it knows less; `latest` knows all."""
    return one.as_of != LATEST and (ws.as_of == LATEST or one.as_of < ws.as_of)
