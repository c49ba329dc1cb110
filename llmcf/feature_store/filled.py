"""What a workspace's online store should hold, and the note of what it does hold (`materialized.json`)."""

from typing import Any

from core import storage
from core.data import added
from core.settings import Workspace
from llmcf.feature_store import ledger, registry
from llmcf.feature_store.registry import UNTIL

_PUSHED = ("ledger", "added")  # digests in what is online


def contents(ws: Workspace, tally: ledger.Tally, items: str | None) -> dict[str, Any]:
    """What should be online: a release of the features, the pushed events that `tally` counts, and added items.

    Args:
        items: the digest of those, None without any.
    """
    found = {"release": registry.release(ws), "events": tally.count, "ledger": tally.digest}
    return found | ({"added": items} if items else {})


def until(ws: Workspace, wanted: dict[str, Any]) -> float | None:
    """The end of what is online in Unix seconds, or None if that is not `wanted`."""
    found = registry.marker(ws, registry.MATERIALIZED) or {}
    reached = found.pop(UNTIL, None)
    return reached if found == wanted else None


def behind(ws: Workspace) -> bool:
    """Whether something was pushed that counts in the workspace, or an item added, since the store that answers was
    filled; no store is behind that was never filled."""
    found = registry.online(ws)
    if found is None:
        return False
    pushed = ledger.Tally(ledger.events(ws))
    return (pushed.count, pushed.digest, added.digest(ws)) != (found.get("events", 0), *map(found.get, _PUSHED))


def mark(ws: Workspace, wanted: dict[str, Any], tally: ledger.Tally, *, until: float) -> None:
    """Note what is online and how far it reaches: to its last state or the newest pushed event."""
    reached = max(until, tally.newest)
    storage.write_json(ws.path("feast", registry.MATERIALIZED), wanted | {UNTIL: reached})
