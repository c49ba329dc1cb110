"""How long a request's features take: one user and 200 items, from Feast on SQLite and on Redis.

    .venv/bin/python -m benchmarks.online_features

Times Feast's `get_online_features`, our reader (llmcf/online/reader.py) without and with cached item rows, and the
floor: the same rows' bytes, neither decoded nor held against a TTL. They take turns on the same requests, so that a
busy moment of the machine hits all alike. Writes benchmarks/results/online_features.{json,md}.
"""

import argparse
import os
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks import online_stores
from benchmarks.online_stores import Bare
from core import machine, storage
from core.data import kept, tables
from core.errors import LlmcfError
from core.progress import say
from core.settings import PROJECT, Workspace
from llmcf.feature_store.opening import open_store
from llmcf.online.reader import ITEM, USER, OnlineFeatures
from llmcf.online.views import views
from tests.feasts_own import references

if TYPE_CHECKING:
    from feast import FeatureStore

ITEMS = 200
PLAIN, FLOOR = "Feast's get_online_features", "the bytes of all rows, nothing else"
COLD, WARM = "our reader, nothing cached", "our reader, rows of items cached"
RESULTS = PROJECT / "benchmarks" / "results"
_POOL, _WARM_UP = 50, 10
Request = tuple[int, list[int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """Milliseconds of `requests` reads of one user and ITEMS items; `of_plain` compares the medians."""

    store: str
    what: str
    requests: int
    p50_ms: float
    p95_ms: float
    of_plain: float
    p95_of_plain: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=400, help="reads of each kind (default: %(default)s)")
    parser.add_argument("--dataset", default="movielens-100k")
    parser.add_argument("--order", help="(default: the data set's own)")
    arguments = parser.parse_args()
    ws = Workspace(arguments.dataset, arguments.order or kept.default_order(arguments.dataset))
    figures: list[Figure] = []
    for name, store in (("SQLite", online_stores.sqlite), ("Redis", online_stores.redis)):
        try:
            with store(ws) as bare:
                figures += measure(name, ws, bare, arguments.rounds)
        except LlmcfError as error:
            say(f"{name} is not timed: {error}")
    command = f"python -m benchmarks.online_features --rounds {arguments.rounds}"
    write(RESULTS, figures, ws, command)
    say((RESULTS / "online_features.md").read_text(encoding="utf-8"))


def measure(store: str, ws: Workspace, bare: Bare, rounds: int) -> list[Figure]:
    """The figures of one store."""
    pool = _requests(ws)
    calls = _calls(ws, bare, pool)
    taken: dict[str, list[float]] = {what: [] for what in calls}
    for number in range(-_WARM_UP, rounds):
        for what, call in calls.items():
            seconds = call(number % _POOL)
            if number >= 0:
                taken[what].append(seconds)
    p50, p95 = ({what: float(np.percentile(taken[what], at)) * 1e3 for what in calls} for at in (50, 95))
    return [
        Figure(
            store=store,
            what=what,
            requests=rounds,
            p50_ms=round(p50[what], 3),
            p95_ms=round(p95[what], 3),
            of_plain=round(p50[what] / p50[PLAIN], 3),
            p95_of_plain=round(p95[what] / p95[PLAIN], 3),
        )
        for what in calls
    ]


def _calls(ws: Workspace, bare: Bare, pool: list[Request]) -> dict[str, Callable[[int], float]]:
    """Each kind of read by the number of a request; all give the same values, which is checked first."""
    store, reader, fresh = open_store(ws.path("feast")), OnlineFeatures(ws), OnlineFeatures(ws)
    user_views, item_views = views(store, USER), views(store, ITEM)
    fields = references(user_views), references(item_views)
    _check(store, fields, reader, pool[0])
    reader.items(tables.items(ws)["item"].to_pylist())  # what a server has read after a while
    floors = [
        bare([*((view, [user]) for view in user_views), *((view, items) for view in item_views)])
        for user, items in pool
    ]

    def cold(number: int) -> float:
        fresh.forget()
        return _timed(partial(_ours, fresh, pool[number]))

    return {
        PLAIN: lambda number: _timed(partial(_plain, store, fields, pool[number])),
        COLD: cold,
        WARM: lambda number: _timed(partial(_ours, reader, pool[number])),
        FLOOR: lambda number: _timed(floors[number]),
    }


def _check(store: "FeatureStore", fields: Sequence[list[str]], reader: OnlineFeatures, request: Request) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of stores that are not ours
        plain = _plain(store, fields, request)
    for columns, rows in zip(plain, _ours(reader, request), strict=True):
        for place, row in enumerate(rows):
            if row is None or any(columns[name][place] != value for name, value in row.items()):
                raise LlmcfError(f"our reader says {row} where Feast does not")


def _plain(store: "FeatureStore", fields: Sequence[list[str]], request: Request) -> list[dict[str, list[Any]]]:
    user, items = request
    asked = ((fields[0], [{"user": user}]), (fields[1], [{"item": item} for item in items]))
    return [store.get_online_features(features=names, entity_rows=rows).to_dict() for names, rows in asked]


def _ours(reader: OnlineFeatures, request: Request) -> list[list[dict[str, Any] | None]]:
    user, items = request
    return [[reader.user(user)], reader.items(items)]


def _timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _requests(ws: Workspace) -> list[Request]:
    generator = np.random.default_rng(0)
    users, items = tables.users(ws)["user"].to_numpy(), tables.items(ws)["item"].to_numpy()
    count = min(ITEMS, len(items))
    return [(int(generator.choice(users)), generator.permutation(items)[:count].tolist()) for _ in range(_POOL)]


def write(folder: Path, figures: list[Figure], ws: Workspace, command: str) -> None:
    """Write the figures with all that they were measured on."""
    here = {**machine.describe(), "load": os.getloadavg()[0]}
    account = {"command": command, "dataset": ws.dataset, "machine": here, "figures": [asdict(f) for f in figures]}
    storage.write_json(folder / "online_features.json", account)
    with storage.atomic_path(folder / "online_features.md") as beside:
        beside.write_text(_page(figures, ws, here, command), encoding="utf-8")


def _page(figures: list[Figure], ws: Workspace, here: Mapping[str, Any], command: str) -> str:
    lines = [
        "# Reading online features",
        "",
        f"One user and {ITEMS} items of {ws.dataset}; one client, one read after the other, stores on this machine.",
        f"Feast {here['libraries']['feast']} on {machine.sentence()}, load average {here['load']:.1f}. `{command}`",
        "",
        "| store | what | p50 ms | p95 ms | p50 of Feast's | p95 of Feast's | reads |",
        "|---|---|---|---|---|---|---|",
    ]
    for f in figures:
        lines.append(
            f"| {f.store} | {f.what} | {f.p50_ms:.2f} | {f.p95_ms:.2f} | {f.of_plain:.2f} | {f.p95_of_plain:.2f} "
            f"| {f.requests:,} |"
        )
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
