"""Feast for a workspace: apply, point-in-time join, materialize, push, and online reads."""

import time
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from core import schemas, steps, storage
from core.data import asof, dated, features, tables, vocabulary
from core.data.events import Event
from core.errors import Missing
from core.result import Result
from core.settings import Workspace
from llmcf.feature_store import ledger, pushes, registry
from llmcf.feature_store.registry import UNTIL

CODE = ["feature_repo", "llmcf/feature_store/jobs.py", "llmcf/feature_store/worker.py", "core/data/asof.py"]


def apply(ws: Workspace) -> Result:
    """Copy `feature_repo/` into the workspace's feast/ and register it there. Skipped when nothing has changed."""
    start = time.monotonic()
    with registry.locked(ws):
        wanted = registry.release(ws)
        skipped = registry.marker(ws, registry.APPLIED) == wanted
        if not skipped:
            registry.set_aside(ws)
            registry.copy_repo(ws, wanted)
            registry.run(ws, "apply")
            storage.write_json(ws.path("feast", registry.APPLIED), wanted)
    details = {"project": wanted["project"], "online_store": wanted["online_store"]}
    return _result(ws, "features apply", start, skipped=skipped, details=details)


def join(ws: Workspace) -> Result:
    """Fill `training/`: the prepared rows with Feast's `ranking` features, checked against the reference.

    Raises:
        Missing: if a joined feature is not what the interactions before the row say.
    """
    registry.require_applied(ws)
    step = steps.Step(
        folder=ws.path("training"),
        config={"service": "ranking"},
        inputs=[ws.path("data"), ws.path("features")],
        code=CODE,
    )

    def work(folder: Path) -> dict[str, Any]:
        rows, interactions = tables.rows(ws), tables.interactions(ws)
        joined = _joined(ws, rows, interactions)
        _check(ws, joined, asof.attach(rows, interactions, tables.items(ws)))
        storage.write_table(folder / "rows.parquet", joined, schemas.TRAINING_ROWS)
        return {"rows": joined.num_rows, "checked": asof.FEATURES}

    done = steps.run(step, work)
    return Result(
        verb="features join",
        workspace=ws,
        skipped=done.skipped,
        seconds=done.seconds,
        artifacts={"rows": str(done.folder / "rows.parquet")},
        details=done.summary,
    )


def materialize(ws: Workspace) -> Result:
    """Bring the newest states into the online store. Skipped when nothing has changed.

    Pushed states are written into the offline history first, so that no newer one is overwritten by an older one:
    Feast's SQLite store does not compare event times.
    """
    registry.require_applied(ws)
    start = time.monotonic()
    with registry.locked(ws):
        wanted = _contents(ws)
        skipped = _materialized_until(ws, wanted) is not None
        if not skipped:
            _compose_history(ws, _replayed(ws))
            start_of_span, end = _span(ws.path("feast", "data"))
            registry.run(ws, "materialize", start_of_span.isoformat(), end.isoformat())
            _mark_materialized(ws, wanted, until=end.timestamp())
        registry.drop_before(ws)
    details = {"online_store": wanted["release"]["online_store"], "pushed_events": wanted["events"]}
    return _result(ws, "features materialize", start, skipped=skipped, details=details)


def push(ws: Workspace, lines: Iterable[str | bytes], *, now: float | None = None) -> Result:
    """Take new interactions (JSON lines of raw ids) into the offline and the online history.

    While one release of the features replaces another, both get them: the one that answers, and the one that will.
    Safe to repeat, and a repeat completes what a killed push began: an event that is known, up to a day in the future,
    or late (older than the user's newest in the prepared data) is counted and left out; others may come in any order.
    New users and items get rows of the vocabulary, so that they are served at once. `now` is a Unix time.

    Raises:
        UsageError: for a line that is no event; then nothing is taken.
    """
    registry.take_pushes(ws)
    start, latest = time.monotonic(), time.time() if now is None else now
    events = pushes.parse(lines, now=latest)
    with registry.locked(ws), ledger.locked(ws):
        until = _materialized_until(ws, _contents(ws))
        account = _judged(ws, events, latest)
        grown = _grow(ws, account.accepted)
        ledger.add(ws, account.accepted)
        timelines = _replayed(ws)
        states = _compose_history(ws, timelines)
        _push_online(ws, states.filter(pa.array(np.isin(states["user"], list(timelines.ids(events))))))
        if until is not None:
            _mark_materialized(ws, _contents(ws), until=until)
    details = {
        "events": len(events),
        "accepted": len(account.accepted),
        "out_of_order": account.out_of_order,
        **grown,
        "left_out": dict(account.left_out),
    }
    return _result(ws, "features push", start, skipped=False, details=details)


def _judged(ws: Workspace, events: list[Event], latest: float) -> pushes.Account:
    """Which of the events can be taken, found before anything is kept of them."""
    users = vocabulary.numbered(ws.dataset, "users", (event.user for event in events))
    items = vocabulary.numbered(ws.dataset, "items", (event.item for event in events))
    timelines = pushes.Timelines(tables.interactions(ws), tables.items(ws), users, items)
    timelines.replay(ledger.events(ws))
    return timelines.append(events, now=latest)


def _result(ws: Workspace, verb: str, start: float, *, skipped: bool, details: dict[str, Any]) -> Result:
    return Result(
        verb=verb,
        workspace=ws,
        skipped=skipped,
        seconds=time.monotonic() - start,
        artifacts={"feast": str(ws.path("feast"))},
        details=details,
    )


def _joined(ws: Workspace, rows: pa.Table, interactions: pa.Table) -> pa.Table:
    with storage.scratch_folder(ws.path(".join")) as scratch:
        asked, joined = scratch / "entities.parquet", scratch / "joined.parquet"
        pq.write_table(entities(rows, interactions), asked)
        registry.run(ws, "join", "ranking", str(asked), str(joined))
        found = pq.read_table(joined).sort_by("row")
    if not found["row"].equals(rows["row"]):
        what = f"Feast's join gave {found.num_rows} rows for {rows.num_rows}"
        raise Missing(what, tables.remedy(ws, "features apply"))
    for name in asof.FEATURES:
        rows = rows.append_column(name, found[name])
    return rows.cast(schemas.TRAINING_ROWS)


def entities(rows: pa.Table, interactions: pa.Table) -> pa.Table:
    """What Feast joins features to: who, what and when."""
    day, position, number = (rows[name].to_numpy().astype(np.int64) for name in ("day", "position", "row"))
    block = number // (2 * interactions.num_rows)  # of rows that share a moment with their positive
    times = dated.row_times(day, position, 2 * block + number % 2)
    entities = rows.select(["row", "user", "item"]).append_column("day", pa.array(day))
    return entities.append_column("event_timestamp", times)


def _check(ws: Workspace, joined: pa.Table, expected: pa.Table) -> None:
    for name, wrong in asof.differences(joined, expected).items():
        raise Missing(
            f"the joined {name} is wrong on {len(wrong)} of {expected.num_rows} rows; row {wrong[0]}: "
            f"{joined[name][wrong[0]]} instead of {expected[name][wrong[0]]}",
            f"{tables.remedy(ws, 'features build')} && {tables.remedy(ws, 'features apply')}",
        )


def _contents(ws: Workspace) -> dict[str, Any]:
    """What the online store should hold."""
    return {"release": registry.release(ws), "events": len(ledger.events(ws)), "ledger": ledger.digest(ws)}


def _materialized_until(ws: Workspace, wanted: dict[str, Any]) -> float | None:
    """The end of what is online in Unix seconds, or None if that is not `wanted`."""
    found = registry.marker(ws, registry.MATERIALIZED) or {}
    until = found.pop(UNTIL, None)
    return until if found == wanted else None


def _mark_materialized(ws: Workspace, contents: dict[str, Any], *, until: float) -> None:
    """Note what is online and how far it reaches: to its last state or the newest pushed event."""
    reached = max([until, *(event.timestamp for event in ledger.events(ws))])
    storage.write_json(ws.path("feast", registry.MATERIALIZED), contents | {UNTIL: reached})


def _replayed(ws: Workspace) -> pushes.Timelines:
    """Timelines with the ledger's events, save those that the prepared data has caught up with."""
    known = {kind: vocabulary.rows(ws.dataset, kind) for kind in ("users", "items")}
    timelines = pushes.Timelines(tables.interactions(ws), tables.items(ws), known["users"], known["items"])
    timelines.replay(ledger.events(ws))
    return timelines


def _grow(ws: Workspace, events: list[Event]) -> dict[str, int]:
    """Give rows to users and items that were never seen; how many."""
    found = {}
    for kind, raw_ids in (("users", [event.user for event in events]), ("items", [event.item for event in events])):
        before = len(vocabulary.rows(ws.dataset, kind))
        found[f"new_{kind}"] = len(vocabulary.grow(ws.dataset, kind, raw_ids)) - before
    return found


def _compose_history(ws: Workspace, timelines: pushes.Timelines) -> pa.Table:
    """Write the offline history: the built states, then the pushed ones. Returns the pushed ones."""
    states = timelines.states()
    built = pq.read_table(ws.path("features", "user_history.parquet"))
    path = ws.path("feast", "data", "user_history.parquet")
    storage.write_table(path, pa.concat_tables([built, states]), features.USER_HISTORY)
    return states


def _push_online(ws: Workspace, states: pa.Table) -> None:
    """Write each user's newest state; `states` has a user's states together, oldest first."""
    if states.num_rows == 0:
        return
    user = states["user"].to_numpy()
    newest = states.filter(pa.array(np.append(user[1:] != user[:-1], True)))
    with storage.scratch_folder(ws.path(".push")) as scratch:
        path = scratch / "states.parquet"
        pq.write_table(newest, path)
        for folder in registry.take_pushes(ws):
            registry.run(ws, "push", "interactions", str(path), folder=folder)


def _span(data: Path) -> tuple[datetime, datetime]:
    """The first and the last event time of the feature files."""
    files = [pq.read_table(data / f"{name}.parquet", columns=["event_timestamp"]) for name in features.SCHEMAS]
    times = pa.concat_tables(files).sort_by("event_timestamp")["event_timestamp"]
    return times[0].as_py(), times[-1].as_py()
