"""Versions of a collection: made beside the live one, verified, published by an alias, and taken back.

A version's name has the home's identity and a digest of its rows. It is there only if it was verified: until then a
collection has another name. The alias is what readers follow; a second one, `..._before`, marks the way back.
"""

import re
import time
from collections.abc import Collection as Names
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from core import homes
from core.data import tables
from core.errors import Missing, UsageError
from core.progress import say
from core.settings import Workspace
from ict.milvus import building, lite
from ict.milvus.collection import Collection, account_of, tell
from ict.milvus.connection import Server
from ict.milvus.records import DIGITS, Records
from ict.milvus.verification import verify

if TYPE_CHECKING:
    from pymilvus import MilvusClient


def publish(client: "MilvusClient", ws: Workspace, kind: str, records: Records) -> str:
    """Make a new version of the collection `kind`, verify it, and flip the alias to it; return its name.

    Readers of the alias see the old version until the flip. Older versions stay until `drop_versions`: whoever keeps a
    release that names one must be able to serve it again. Rows that a version was made of before are not written again,
    unless they are said to be of something else by now, such as another encoder.
    Where people have rolled back from just these rows, the version is made and the alias stays.

    Raises:
        UsageError: for no rows, or an index that this Milvus does not build.
        LlmcfError: if the stored rows do not answer as they must; the alias then stays where it was.
    """
    if not len(records.ids):
        raise UsageError(f"there is nothing to publish as {alias(ws, kind)}; the live version, if any, stays")
    assert (np.diff(records.ids) > 0).all(), "ids ascend"
    server = Server.of(client)
    if not server.several_vectors:
        records = records.with_one_vector(server)
    live, there, digest = live_version(client, ws, kind), versions(client, ws, kind), records.digest()
    name = next((old for old in there if old.endswith(digest) and _is_of(client, old, records)), None)
    if name is None:
        name = f"{alias(ws, kind)}_v{number(there[-1]) + 1 if there else 1}_{digest}"
        _make(client, ws, kind, name, records, live or _of_an_earlier_day(client, ws, kind))
    if live and digest in account_of(client, live).get("left", []):
        version = number(name)
        back = tables.remedy(ws, f"index rollback --kind {kind} --version {version}")
        say(f"{live} was chosen over just these rows and stays live; `{back}` makes them live again")
    elif name != live:
        _flip(client, ws, kind, live, name)
    return name


def rollback(client: "MilvusClient", ws: Workspace, kind: str, to: int | None = None) -> tuple[str, str]:
    """Make live again what was live before, or the version of that number; return the name that was and that is live.

    What is left, now and on the way to `live`, is not made live again by publishing the same rows, until others are
    published.

    Raises:
        UsageError: if nothing is published, there is no way back, or no such version.
    """
    live, there = live_version(client, ws, kind), versions(client, ws, kind)
    if live is None:
        raise UsageError(f"nothing is published as {alias(ws, kind)}, so nothing can be rolled back")
    before = _behind(client, _before(ws, kind)) if to is None else None
    target = before if to is None else next((name for name in there if number(name) == to), None)
    if target is None or target == live:
        others = ", ".join(str(number(name)) for name in there if name != live) or "none"
        what = f"no version {to} of {alias(ws, kind)}" if to is not None else f"nothing before {live}"
        raise UsageError(f"there is {what} to go back to; other versions that are kept: {others} (--version)")
    told = account_of(client, target)
    left = {*told.get("left", []), *account_of(client, live).get("left", []), live.rsplit("_", 1)[1]}
    tell(client, target, {**told, "left": sorted(left - {target.rsplit("_", 1)[1]})})
    _flip(client, ws, kind, None, target)
    if _behind(client, _before(ws, kind)):
        client.drop_alias(_before(ws, kind))
    return live, target


def drop_versions(client: "MilvusClient", ws: Workspace, kind: str, *, keep: Names[str]) -> list[str]:
    """Drop all versions but the live one, the one before it and those in `keep`; returns them."""
    stay = {live_version(client, ws, kind), _behind(client, _before(ws, kind)), *keep}
    gone = [name for name in versions(client, ws, kind) if name not in stay]
    for name in gone:
        client.drop_collection(name)
    return gone


def forget(client: "MilvusClient", ws: Workspace, kind: str, *, keep: Names[str]) -> list[str]:
    """Drop every version but those in `keep`, the live one too, whose alias goes first; returns them."""
    for one in (alias(ws, kind), _before(ws, kind)):
        behind = _behind(client, one)
        if behind and behind not in keep:
            client.drop_alias(one)
    gone = [name for name in versions(client, ws, kind) if name not in keep]
    for name in gone:
        client.drop_collection(name)
    _drop_unverified(client, ws, kind)
    return gone


def listed(client: "MilvusClient", ws: Workspace, kind: str) -> list[dict[str, Any]]:
    """Every version, oldest first: its name and number, whether it is live or the way back, and its account."""
    live, before = live_version(client, ws, kind), _behind(client, _before(ws, kind))
    state = {before: "before", live: "live"}
    return [
        {
            "kind": kind,
            "version": number(name),
            "collection": name,
            "state": state.get(name, ""),
            **account_of(client, name),
        }
        for name in versions(client, ws, kind)
    ]


def names(client: "MilvusClient") -> set[str]:
    """Every collection there is."""
    stored: list[str] = client.list_collections()  # pyright: ignore[reportAssignmentType]
    return set(stored)


def alias(ws: Workspace, kind: str) -> str:
    """The name under which readers find the live version."""
    return f"{homes.prefix(ws)}_{kind}"


def versions(client: "MilvusClient", ws: Workspace, kind: str) -> list[str]:
    """Every stored version, oldest first."""
    pattern = re.compile(re.escape(alias(ws, kind)) + rf"_v\d+_[0-9a-f]{{{DIGITS}}}")
    return sorted((name for name in names(client) if pattern.fullmatch(name)), key=number)


def number(version: str) -> int:
    return int(version.rsplit("_", 2)[1].removeprefix("v"))


def live_version(client: "MilvusClient", ws: Workspace, kind: str) -> str | None:
    """The collection behind the alias, or None."""
    return _behind(client, alias(ws, kind))


def open_live(client: "MilvusClient", ws: Workspace, kind: str, remedy: str) -> Collection:
    """The live version, opened.

    Raises:
        Missing: if there is none; `remedy` is the command that publishes it.
    """
    name = live_version(client, ws, kind)
    if name is None:
        raise Missing(f"Milvus holds no collection {alias(ws, kind)!r}", remedy)
    return Collection.open(client, name, remedy)


def _make(client: "MilvusClient", ws: Workspace, kind: str, name: str, records: Records, before: str | None) -> None:
    """Build under a name that no reader looks for, verify, and only then give it its own."""
    start, building_name = time.monotonic(), _unverified(ws, kind)
    _drop_unverified(client, ws, kind)
    try:
        changes, seconds = building.build(client, building_name, records, before)
        collection = Collection.open(client, building_name)
        if changes.copied:
            building.prove(collection, records)
        recall = verify(collection, records)
    except BaseException:
        _drop_unverified(client, ws, kind)
        raise
    tell(
        client,
        building_name,
        {
            "rows": len(records.ids),
            "widths": {vector: values.shape[1] for vector, values in records.vectors.items()},
            "server": str(Server.of(client)),
            "index": records.index.as_json(),
            "k": records.k,
            "recall": recall,
            "until": records.until,
            "changes": {"since": before, **asdict(changes)},
            "seconds": {**seconds, "all": round(time.monotonic() - start, 2)},
            "made": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
            **records.facts,
        },
    )
    client.rename_collection(building_name, name)
    lite.load(client, name)


def _is_of(client: "MilvusClient", name: str, records: Records) -> bool:
    """Whether a version of just these rows says nothing else of where they come from; what it left out it says now."""
    told = account_of(client, name)
    if any(told.get(what, value) != value for what, value in records.facts.items()):
        return False
    if not records.facts.keys() <= told.keys():
        tell(client, name, {**told, **records.facts})
    return True


def _flip(client: "MilvusClient", ws: Workspace, kind: str, live: str | None, name: str) -> None:
    """Point the alias to `name`, and the way back to what was live."""
    for one, target in ((_before(ws, kind), live), (alias(ws, kind), name)):
        if target:
            (client.alter_alias if _behind(client, one) else client.create_alias)(target, one)


def _of_an_earlier_day(client: "MilvusClient", ws: Workspace, kind: str) -> str | None:
    """The last version of the newest earlier workspace of this home, data set and order, whose rows may be the same."""
    day = ws.as_of.replace("-", "_")
    head, tail = alias(ws, kind).rsplit(f"_{day}_", 1)
    pattern = re.compile(rf"{re.escape(head)}_(\d{{4}}_\d\d_\d\d)_{re.escape(tail)}_v\d+_[0-9a-f]{{{DIGITS}}}")
    found = [(match[1], number(name), name) for name in names(client) if (match := pattern.fullmatch(name))]
    earlier = [one for one in found if one[0] < day]
    return max(earlier)[2] if earlier else None


def _behind(client: "MilvusClient", one: str) -> str | None:
    """The collection behind an alias, or None; servers log an error if they are asked for one that is not."""
    known: Any = client.list_aliases()
    if one not in known["aliases"]:
        return None
    return client.describe_alias(one)["collection_name"]


def _before(ws: Workspace, kind: str) -> str:
    return f"{alias(ws, kind)}_before"


def _unverified(ws: Workspace, kind: str) -> str:
    return f"{alias(ws, kind)}_unverified"


def _drop_unverified(client: "MilvusClient", ws: Workspace, kind: str) -> None:
    """What a run left that was killed, or that failed."""
    if _unverified(ws, kind) in names(client):
        client.drop_collection(_unverified(ws, kind))
