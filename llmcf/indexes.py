"""`llmcf index list | rollback`: the versions of a workspace's indexes, and going back to the one before.

Releases name the versions that they serve from and follow no alias: what is rolled back here is what `cot search` and
other readers of the alias see. `llmcf release rollback` takes back what is served.
"""

import time
from typing import Any

from core.data.tables import remedy
from core.errors import Missing, check_choice
from core.markdown import table
from core.result import Result
from core.settings import Workspace
from llmcf.serving import releases
from llmcf.serving.pruning import KINDS

_MADE_BY = {"cot": "cot index", "items": "export"}


def listing(ws: Workspace) -> Result:
    """Every version of the workspace's indexes, with what was found out about it when it was published."""
    from ict import milvus

    start, found, server = time.monotonic(), [], ""
    if milvus.exists(ws):
        with milvus.connect(ws) as client:
            server = str(milvus.Server.of(client))
            found = [version for kind in KINDS for version in milvus.listed(client, ws, kind)]
    served = {name: claim.number for claim in releases.claims(ws.dataset) for name in claim.collections}
    head = ["kind", "version", "state", "rows", "index", "least recall", "seconds", "release", "made"]
    rows = [_row(version, served.get(version["collection"])) for version in found]
    nothing = f"no index of {ws.dataset} {ws.order} {ws.as_of}; `{remedy(ws, 'cot index')}` makes one"
    return Result(
        verb="index list",
        workspace=ws,
        seconds=time.monotonic() - start,
        details={"server": server, "versions": found, "text": "\n".join(table(head, rows)) if rows else nothing},
    )


def rollback(ws: Workspace, kind: str, to: int | None) -> Result:
    """Make live again the version before the live one, or the version numbered `to`; releases keep theirs.

    Raises:
        UsageError: for an unknown kind, or if there is nothing to go back to.
        Missing: if there is no Milvus yet.
    """
    from ict import milvus

    check_choice("kind of index", kind, KINDS)
    start = time.monotonic()
    if not milvus.exists(ws):
        raise Missing(f"{ws.root} has no index of kind {kind}", remedy(ws, _MADE_BY[kind]))
    with milvus.connect(ws) as client:
        left, live = milvus.rollback(client, ws, kind, to)
    return Result(
        verb="index rollback",
        workspace=ws,
        seconds=time.monotonic() - start,
        details={"kind": kind, "live": live, "left": left},
    )


def _row(version: dict[str, Any], release: int | None) -> list[str]:
    """One version for people; of one that has no account, what its name says."""
    index = dict(version.get("index", {}))
    kind = index.pop("kind", "")
    numbers = " ".join(f"{name} {value}" for name, value in index.items())
    measured = version.get("recall", {}).items()
    least = {vector: min((value, what) for what, value in of.items()) for vector, of in measured if of}
    return [
        version["kind"],
        str(version["version"]),
        version["state"],
        f"{version['rows']:,}" if "rows" in version else "",
        " ".join(filter(None, [kind, numbers])),
        "; ".join(f"{vector} {value:.3f} ({what})" for vector, (value, what) in least.items()),
        f"{version['seconds']['all']:.0f}" if "seconds" in version else "",
        str(release or ""),
        version.get("made", ""),
    ]
