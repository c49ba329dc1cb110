"""How old the features are that requests read, by what Feast's registry says was materialized."""

import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from core import storage
from core.contracts import DAY
from core.data import datasets, tables
from core.errors import LlmcfError
from core.settings import Workspace
from llmcf.feature_store import registry
from llmcf.feature_store.opening import open_store
from llmcf.monitoring import samples
from llmcf.monitoring.figures import Part
from llmcf.online.views import View, views

NAME = "online"
SERVICES = ("user_request", "item_request")  # of feature_repo: what a request reads
_HOUR = 3600


@dataclass(frozen=True, slots=True)
class Store:
    """An online store: how far it reaches and the moment it is held against, in Unix seconds.

    Args:
        materialized: the end of each view's last materialization, as Feast has it.
        expired: of each view whose states expire, the share of entities whose newest one has.
    """

    project: str
    until: float
    now: float
    materialized: dict[str, float]
    expired: dict[str, float]


def compare(ws: Workspace, reference: Workspace | None, *, now: float | None = None) -> Part:
    """The part of the online store. `now` is in Unix seconds; the wall's clock, or an archive's, if not given.

    An archive's clock stands at the end of its workspace, a live data set's goes on.
    """
    part = Part(name=NAME)
    found = look(ws, now)
    if isinstance(found, str):
        part.missing.append(f"the online store: {found}")
        return part
    before = look(reference, _end(reference)) if reference and reference != ws else None
    expired_before = before.expired if isinstance(before, Store) else found.expired if reference == ws else {}
    if isinstance(before, str):
        part.missing.append(f"the online store of the reference: {before}")
    part.add("online_hours", max(0.0, found.now - found.until) / _HOUR)
    for view, end in found.materialized.items():
        part.add("materialized_hours", max(0.0, found.now - end) / _HOUR, of=view)
    for view, share in found.expired.items():
        part.add("expired", share, of=view, before=expired_before.get(view))
    part.drawn["project"] = found.project
    part.facts.append(f"Feast's project {found.project}, materialized or pushed until {_moment(found.until)}.")
    return part


def look(ws: Workspace, now: float | None) -> Store | str:
    """The online store of a workspace; or why there is none to look at."""
    try:
        told = registry.materialized(ws)
        folder = registry.serving(ws)
        store = open_store(folder)
        read = {view.name: view for service in SERVICES for view in views(store, service)}
        ends = {view.name: view.most_recent_end_time for view in store.list_feature_views()}
        moment = now if now is not None else _now(ws)
    except (LlmcfError, OSError) as error:
        return str(error)
    return Store(
        project=store.project,
        until=float(told[registry.UNTIL]),
        now=moment,
        materialized={name: end.timestamp() for name, end in sorted(ends.items()) if end is not None},
        expired={name: _expired(folder, view, moment) for name, view in read.items() if math.isfinite(view.ttl)},
    )


def _now(ws: Workspace) -> float:
    """The wall's clock for a live data set; the end of its workspace for an archive."""
    if datasets.find(ws.dataset).live:
        return time.time()
    return _end(ws)


def _end(ws: Workspace) -> float:
    return float(samples.end_day(ws, tables.interactions(ws)) * DAY)


def _expired(folder: Path, view: View, now: float) -> float:
    """The share of entities whose newest state has outlived the view's TTL."""
    states = storage.parquet(folder / "data" / f"{view.name}.parquet", [view.key, "event_timestamp"])
    newest = states.group_by(view.key).aggregate([("event_timestamp", "max")])["event_timestamp_max"]
    seconds = newest.cast(pa.int64()).to_numpy() / 1e6
    return float((seconds + view.ttl < now).mean()) if len(seconds) else 0.0


def _moment(seconds: float) -> str:
    return str(np.datetime64(int(seconds), "s")).replace("T", " ") + " UTC"
