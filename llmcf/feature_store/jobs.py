"""Feast for a workspace: apply, point-in-time join, materialize, push, and online reads."""

import time
from collections.abc import Iterable
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from core import schemas, steps, storage
from core.data import asof, dated, features, tables
from core.errors import Missing
from core.progress import say
from core.result import Result
from core.settings import Workspace
from llmcf.feature_store import filled, newer, pushes, registry
from llmcf.feature_store.taking import Known, Taker

CODE = ["feature_repo", "llmcf/feature_store/jobs.py", "llmcf/feature_store/worker.py", "core/data/asof.py"]
_PUSHED = b"pushed"  # in the offline history: a digest of the events that it has beside the built states


def apply(ws: Workspace) -> Result:
    """Copy `feature_repo/` into the workspace's feast/ and register it there. Skipped when nothing has changed."""
    start = time.monotonic()
    with registry.locked(ws):
        wanted = registry.release(ws)
        skipped = registry.marker(ws, registry.APPLIED) == wanted
        if not skipped:
            registry.set_aside(ws)
            registry.copy_repo(ws, wanted)
            registry.run(ws, "apply", ws.dataset)
            storage.write_json(ws.path("feast", registry.APPLIED), wanted)
        registry.offer_online(ws, wanted)
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
    Feast's SQLite store does not compare event times. The service's writer leaves that to this verb.
    """
    registry.require_applied(ws)
    start = time.monotonic()
    with registry.locked(ws):
        known = Known.read(ws)
        wanted = known.contents(ws)
        online, offline = filled.until(ws, wanted) is not None, _offline(ws) == known.tally.digest
        if not (online and offline):
            _compose_history(ws, known)
        if not online:
            _compose_items(ws, known)
            start_of_span, end = _span(ws.path("feast", "data"))
            registry.run(ws, "materialize", ws.dataset, start_of_span.isoformat(), end.isoformat())
            filled.mark(ws, wanted, known.tally, until=end.timestamp())
        registry.drop_before(ws)
    details = {"online_store": wanted["release"]["online_store"], "pushed_events": wanted["events"]}
    return _result(ws, "features materialize", start, skipped=online and offline, details=details)


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
    taken = Taker(ws, partial(_write, ws)).take(events, now=latest, then=partial(_compose_history, ws))
    account = taken.account
    details = {
        "events": len(events),
        "accepted": len(account.accepted),
        "out_of_order": account.out_of_order,
        "new_users": taken.new_users,
        "new_items": taken.new_items,
        "left_out": dict(account.left_out),
    }
    return _result(ws, "features push", start, skipped=False, details=details)


def catch_up(ws: Workspace) -> None:
    """Bring online what was pushed to another day's workspace since this one's store was filled, as where its release
    goes live hours after; at once where there is nothing.

    Raises:
        Missing: if no feature store is there that fits.
    """
    if Taker(ws, partial(_write, ws)).catch_up():
        say(f"what was pushed since {ws} was materialized is online")


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


def _offline(ws: Workspace) -> str | None:
    """The digest of the pushed events that the offline history has in it."""
    path = ws.path("feast", "data", "user_history.parquet")
    found = (pq.read_schema(path).metadata or {}).get(_PUSHED)
    return found.decode() if found else None


def _compose_history(ws: Workspace, known: Known) -> None:
    """Write the offline history: the built states, then the pushed ones."""
    built = pq.read_table(ws.path("features", "user_history.parquet"))
    digest = known.tally.digest
    schema = features.USER_HISTORY.with_metadata({_PUSHED: digest} if digest else None)
    path = ws.path("feast", "data", "user_history.parquet")
    storage.write_table(path, pa.concat_tables([built, known.timelines.states()]), schema)


def _compose_items(ws: Workspace, known: Known) -> None:
    """Write what the store is to know of items: the built rows, then those of added items."""
    built = pq.read_table(ws.path("features", "item_attributes.parquet"))
    new = newer.attributes(ws, newer.items(ws, known.offered), known.rows["items"])
    path = ws.path("feast", "data", "item_attributes.parquet")
    storage.write_table(path, pa.concat_tables([built.select(new.column_names), new]), features.ITEM_ATTRIBUTES)


def _write(ws: Workspace, folder: Path, source: str, rows: pa.Table) -> None:
    """Bring rows online in a process of Feast's own."""
    with storage.scratch_folder(ws.path(".push")) as scratch:
        path = scratch / "states.parquet"
        pq.write_table(rows, path)
        registry.run(ws, "push", source, str(path), folder=folder)


def _span(data: Path) -> tuple[datetime, datetime]:
    """The first and the last event time of the feature files."""
    files = [pq.read_table(data / f"{name}.parquet", columns=["event_timestamp"]) for name in features.SCHEMAS]
    times = pa.concat_tables(files).sort_by("event_timestamp")["event_timestamp"]
    return times[0].as_py(), times[-1].as_py()
