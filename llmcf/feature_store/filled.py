"""What a workspace's online store should hold, and the note of what it does hold (`materialized.json`)."""

from typing import Any

from core import storage
from core.settings import Workspace
from llmcf.feature_store import ledger, registry
from llmcf.feature_store.registry import UNTIL


def contents(ws: Workspace, tally: ledger.Tally, added: str | None) -> dict[str, Any]:
    """What should be online: a release of the features, the pushed events that `tally` counts, and added items.

    Args:
        added: their digest, None without any.
    """
    found = {"release": registry.release(ws), "events": tally.count, "ledger": tally.digest}
    return found | ({"added": added} if added else {})


def until(ws: Workspace, wanted: dict[str, Any]) -> float | None:
    """The end of what is online in Unix seconds, or None if that is not `wanted`."""
    found = registry.marker(ws, registry.MATERIALIZED) or {}
    reached = found.pop(UNTIL, None)
    return reached if found == wanted else None


def mark(ws: Workspace, wanted: dict[str, Any], tally: ledger.Tally, *, until: float) -> None:
    """Note what is online and how far it reaches: to its last state or the newest pushed event."""
    reached = max(until, tally.newest)
    storage.write_json(ws.path("feast", registry.MATERIALIZED), wanted | {UNTIL: reached})
