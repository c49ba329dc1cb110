"""`llmcf audit skew`: what rankers were given in requests, held against what the same features are offline.

The reference is that of the training join (core/data/asof.py), over the prepared interactions and, of users who did
something since, over the ledger of pushes. It shares no code with what serves.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from core.contracts import DENSE, ITEM_DENSE
from core.data import asof, tables, vocabulary
from core.errors import LlmcfError, NotPassed
from core.markdown import table
from core.result import Result
from core.settings import Workspace
from llmcf.feature_store import ledger
from llmcf.feature_store.held import unheld
from llmcf.service import served_log, state
from llmcf.serving import manifest
from llmcf.serving.manifest import Release, Unreadable

_AT: dict[str, int] = {name: place for place, name in enumerate(DENSE)}
# Of users with pushes: online, counts of items stand as they were materialized, while those of the ledger go on.
_OF_PUSHED = tuple(name for name in DENSE if name not in {*ITEM_DENSE, "taste_popularity", "item_age", "cooccurrence"})


def skew(dataset: str) -> Result:
    """Compare every sampled row of the data set's service, feature by feature.

    Raises:
        LlmcfError: if nothing was sampled, or the data that a release reads is missing.
    """
    start, served = time.monotonic(), served_log.read(state.folder(dataset))
    if not served.num_rows:
        raise LlmcfError(f"nothing was sampled of {dataset}: its service has answered no request that is in the sample")
    names: tuple[str, ...] = ("history", *DENSE)
    checked, wrong, counted, largest = 0, Counter[str](), Counter[str](), defaultdict[str, float](float)
    for ws, rows in _by_workspace(dataset, served):
        for comparable, part, expected in _expected(ws, rows):
            checked += part.num_rows
            for name in comparable:
                off = _differences(name, part, expected)
                counted[name] += len(off)
                wrong[name] += int((off > _allowed(name, expected)).sum())
                largest[name] = max(largest[name], float(off.max(initial=0.0)))
    lines = [[name, f"{counted[name]:,}", f"{wrong[name]:,}", f"{largest[name]:.3g}"] for name in names]
    return Result(
        verb="audit skew",
        seconds=time.monotonic() - start,
        details={
            "dataset": dataset,
            "rows": checked,
            "left_out": served.num_rows - checked,
            "skewed": {name: wrong[name] for name in names},
            "values": counted.total(),
            "violations": wrong.total(),
            "text": "\n".join(table(["feature", "rows", "skewed", "most"], lines)),
        },
    )


def require_none(result: Result) -> None:
    """Raises NotPassed if a feature was served otherwise than it is offline."""
    if found := result.details["violations"]:
        named = [name for name, count in result.details["skewed"].items() if count]
        raise NotPassed(f"{found:,} served values are not what they are offline, of {', '.join(named)}")


def _by_workspace(dataset: str, served: pa.Table) -> Iterator[tuple[Workspace, pa.Table]]:
    """The rows of each workspace whose releases can still be read."""
    by_workspace: dict[Workspace, list[int]] = {}
    for number in served["release"].unique().to_pylist():
        try:
            ws = Release.read(manifest.folder(dataset, number)).workspace
        except Unreadable:
            continue
        by_workspace.setdefault(ws, []).append(number)
    for ws, numbers in by_workspace.items():
        yield ws, served.filter(pa.array(np.isin(served["release"].to_numpy(), numbers)))


def _expected(ws: Workspace, served: pa.Table) -> Iterator[tuple[tuple[str, ...], pa.Table, pa.Table]]:
    """Names of features, served rows, and those rows with the features as they are offline.

    Left out are candidates that the prepared data does not have, users who have taken such an item since, and rows
    whose history an event has overtaken that came later. Of rankers that read no as-of features the history is
    compared.
    """
    prepared, items = tables.interactions(ws), tables.items(ws)
    known = items["item"].to_numpy()
    served = served.filter(pa.array(np.isin(served["item"].to_numpy(), known)))
    pushed = _pushed(ws, prepared)
    since = np.unique(pushed["user"].to_numpy())
    strange = np.unique(pushed["user"].to_numpy()[~np.isin(pushed["item"].to_numpy(), known)])
    user = served["user"].to_numpy()
    quiet, later = ~np.isin(user, since), np.isin(user, since) & ~np.isin(user, strange)
    later &= ~_overtaken(served, prepared, pushed)
    whole = _with(prepared, pushed.filter(pa.array(~np.isin(pushed["user"].to_numpy(), strange))))
    dense = served["dense"].is_valid().to_numpy()
    for chosen, names, taken in (
        (quiet & dense, DENSE, prepared),
        (later & dense, _OF_PUSHED, whole),
        (quiet & ~dense, (), prepared),
        (later & ~dense, (), whole),
    ):
        part = served.filter(pa.array(chosen))
        if part.num_rows:
            yield ("history", *names), part, _attached(part, taken, items)


def _overtaken(served: pa.Table, prepared: pa.Table, pushed: pa.Table) -> np.ndarray:
    """Of each served row, whether an event came after it that belongs before one that it knew.

    A row knew of `position` interactions: the prepared ones, and of the pushed ones as many as had come, in the
    ledger's order.
    """
    arrived = defaultdict[int, list[int]](list)
    for user, timestamp in zip(pushed["user"].to_pylist(), pushed["timestamp"].to_pylist(), strict=True):
        arrived[user].append(timestamp)
    mine = prepared.filter(pa.array(np.isin(prepared["user"].to_numpy(), list(arrived))))
    of_user = mine.group_by("user").aggregate([("timestamp", "count"), ("timestamp", "max")])
    columns = (of_user[name].to_pylist() for name in ("user", "timestamp_count", "timestamp_max"))
    held = {user: (count, newest) for user, count, newest in zip(*columns, strict=True)}

    def overtaken(user: int, position: int) -> bool:
        count, newest = held.get(user, (0, 0))
        come = max(0, position - count)
        known = max([newest, *arrived[user][:come]])
        return any(timestamp < known for timestamp in arrived[user][come:])

    pairs = zip(served["user"].to_pylist(), served["position"].to_pylist(), strict=True)
    return np.array([user in arrived and overtaken(user, position) for user, position in pairs], dtype=bool)


def _pushed(ws: Workspace, prepared: pa.Table) -> pa.Table:
    """The ledger's events that the prepared data does not hold, as interactions without a position."""
    events = ledger.events(ws)
    rows = {kind: vocabulary.rows(ws.dataset, kind) for kind in ("users", "items")}
    found = [(rows["users"][one.user], rows["items"][one.item], one.timestamp) for one in events]
    new = unheld(found, prepared)
    user, item, timestamp = zip(*new, strict=True) if new else ((), (), ())
    day = (np.array(timestamp, dtype=np.int64) // 86_400).astype(np.int32)
    columns = {"user": pa.array(user, pa.int64()), "item": pa.array(item, pa.int64())}
    return pa.table({**columns, "timestamp": pa.array(timestamp, pa.int64()), "day": pa.array(day)})


def _with(prepared: pa.Table, pushed: pa.Table) -> pa.Table:
    """Both, each user's by time."""
    names = ["user", "item", "timestamp", "day"]
    return pa.concat_tables([prepared.select(names), pushed.select(names)])


def _attached(served: pa.Table, taken: pa.Table, items: pa.Table) -> pa.Table:
    """The served rows as the training join would have made them, each after as many interactions as it knew of."""
    user, day = (served[name].to_numpy().astype(np.int64) for name in ("user", "day"))
    position = served["position"].to_numpy()
    names = ["user", "item", "timestamp", "day"]
    here = pa.table(  # a row shares the moment of an interaction: that of somebody's last request comes after all
        {
            "user": np.unique(user),
            "item": np.full(len(np.unique(user)), items["item"][0].as_py()),
            "timestamp": np.full(len(np.unique(user)), np.iinfo(np.int64).max),
            "day": np.full(len(np.unique(user)), day.max(), dtype=np.int32),
        }
    )
    plain = taken.select(names).cast(here.schema)
    whole = pa.concat_tables([plain, here]).sort_by([("user", "ascending"), ("timestamp", "ascending")])
    owner = whole["user"].to_numpy()
    whole = whole.append_column("position", pa.array(np.arange(len(owner)) - np.searchsorted(owner, owner)))
    rows = {
        "row": np.arange(len(user)),
        "split": ["test"] * len(user),
        "user": user,
        "item": served["item"].to_numpy(),
        "label": np.zeros(len(user), dtype=np.int8),
        "position": position.astype(np.int32),
        "timestamp": served["time"].to_numpy().astype(np.int64),
        "day": day.astype(np.int32),
        "draw": np.zeros(len(user), dtype=np.int32),
    }
    return asof.attach(pa.table(rows), whole, items)


def _dense(served: pa.Table) -> np.ndarray:
    return np.array(served["dense"].to_pylist(), dtype=np.float64)


def _differences(name: str, served: pa.Table, expected: pa.Table) -> np.ndarray:
    """How far each row is off; of a history 1 where it is another."""
    if name == "history":
        pairs = zip(served["history"].to_pylist(), expected["history"].to_pylist(), strict=True)
        return np.array([float(one != other) for one, other in pairs])
    return np.abs(_dense(served)[:, _AT[name]] - expected[name].to_numpy())


def _allowed(name: str, expected: pa.Table) -> np.ndarray | float:
    """Sums in another order differ in the last digits of a float32."""
    return 0.0 if name == "history" else 1e-5 + 1e-4 * np.abs(expected[name].to_numpy())
