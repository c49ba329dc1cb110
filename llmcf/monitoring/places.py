"""Where monitoring keeps what it makes: `<home>/<data set>/monitoring/<order>/`."""

from pathlib import Path

from core import settings
from core.settings import Workspace


def folder(ws: Workspace) -> Path:
    return settings.home() / ws.dataset / "monitoring" / ws.order


def reference(ws: Workspace) -> Path:
    """The profile of a workspace that days are held against."""
    return folder(ws) / "references" / ws.as_of


def history(ws: Workspace) -> Path:
    """A JSON line a day."""
    return folder(ws) / "history.jsonl"


def page(ws: Workspace) -> Path:
    return folder(ws) / f"{ws.as_of}.html"


def made_of(ws: Workspace) -> Path:
    """What the page was made of."""
    return folder(ws) / f"{ws.as_of}.made_of.json"


def prometheus(ws: Workspace) -> Path:
    """Of the data set and order, of the day that was looked at last."""
    return folder(ws) / f"llmcf_{ws.dataset}_{ws.order}.prom"
