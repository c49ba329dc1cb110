"""What was answered in the last minutes, by all workers together.

Workers count in files that they share (Prometheus' multiprocess mode). The supervisor writes down every few seconds
what all of them say, and whoever wants to know what happened lately takes the difference to now. A worker that dies
leaves its counts behind, so that they only grow.
"""

import json
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import REGISTRY, CollectorRegistry, multiprocess
from prometheus_client.registry import Collector

from core.progress import say
from llmcf.service import arm_counts
from llmcf.service.store import Store

EVERY_S = 10.0
ANSWERS, SECONDS, ROWS, OPEN = (
    "llmcf_service_answers_total",
    "llmcf_service_seconds",
    "llmcf_online_rows_total",
    "llmcf_service_breakers_open",
)
_KEPT = {ANSWERS, f"{SECONDS}_sum", f"{SECONDS}_count", f"{SECONDS}_bucket", ROWS, OPEN, *arm_counts.NAMES}
_TAIL = 0.95


def counters(folder: Path | None = None) -> dict[str, float]:
    """What the service's counters say, by name and labels as JSON.

    Args:
        folder: of the workers' files; the one of this process if it is a worker, else this process' own counters.
    """
    source: Collector = REGISTRY
    with suppress(ValueError):  # no folder: a process by itself
        source = multiprocess.MultiProcessCollector(CollectorRegistry(), folder and str(folder))
    return {
        json.dumps([sample.name, sample.labels]): sample.value
        for metric in source.collect()
        for sample in metric.samples
        if sample.name in _KEPT
    }


def forget(pid: int, folder: Path) -> None:
    """A process is gone: what it was doing is not going on; what it has counted stays."""
    multiprocess.mark_process_dead(pid, str(folder))


class Sampler:
    """The supervisor's: writes the counters of `folder` down, every few seconds, into the service's `place`."""

    def __init__(self, place: Path, folder: Path) -> None:
        self._store, self._folder = Store(place / "service.db"), folder
        self._looked, self._first = -EVERY_S, True

    def look(self) -> None:
        """Write a sample down if it is time; whatever fails costs one sample, not the service."""
        if time.monotonic() - self._looked < EVERY_S:
            return
        self._looked = time.monotonic()
        try:
            self._store.sample(counters(self._folder), first=self._first)
            self._first = False
        except Exception as error:
            say(f"what was counted could not be written down: {error}")


@dataclass(frozen=True, slots=True)
class Route:
    """Answers of one route. `errors` have a status of 500 and more, `refused` one from 400 on.

    `mean_ms` and `tail_ms` are milliseconds; the tail is the 95th percentile, at most the bound of its bucket.
    """

    path: str
    answers: int
    refused: int
    errors: int
    mean_ms: float
    tail_ms: float


@dataclass(frozen=True, slots=True)
class Traffic:
    """`seconds`: how far back it goes; `rows`: online rows read by (view, state); `open`: workers by broken part."""

    seconds: float
    routes: list[Route]
    rows: dict[tuple[str, str], int]
    open: dict[str, int]


def between(before: Mapping[str, float], now: Mapping[str, float], seconds: float) -> Traffic:
    """What happened from one reading of the counters to another."""
    statuses: dict[str, dict[str, float]] = defaultdict(dict)
    times: dict[str, dict[str, float]] = defaultdict(dict)
    rows, broken = {}, {}
    for key, value in now.items():
        name, labels = json.loads(key)
        more = value - before.get(key, 0.0)
        if name == ANSWERS:
            statuses[labels["route"]][labels["status"]] = more
        elif name == ROWS and more:
            rows[labels["view"], labels["state"]] = int(more)
        elif name == OPEN and value:
            broken[labels["part"]] = int(value)
        elif name.startswith(SECONDS):
            times[labels["route"]][labels.get("le", name.removeprefix(f"{SECONDS}_"))] = more
    routes = [_route(path, found, times[path]) for path, found in statuses.items() if sum(found.values())]
    return Traffic(seconds, sorted(routes, key=lambda one: -one.answers), rows, broken)


def _route(path: str, statuses: Mapping[str, float], times: Mapping[str, float]) -> Route:
    def count(first: str) -> int:
        return int(sum(number for status, number in statuses.items() if status.startswith(first)))

    total = times.get("count", 0.0)
    mean = times.get("sum", 0.0) / total if total else 0.0
    bounds = {float(le): number for le, number in times.items() if le not in ("sum", "count")}
    return Route(
        path=path,
        answers=int(sum(statuses.values())),
        refused=count("4"),
        errors=count("5"),
        mean_ms=mean * 1e3,
        tail_ms=_tail(sorted(bounds.items()), total) * 1e3,
    )


def _tail(bounds: Iterable[tuple[float, float]], total: float) -> float:
    """The upper bound in seconds of the bucket that holds the 95th percentile; counts are cumulative."""
    return next((le for le, number in bounds if total and number >= _TAIL * total), 0.0)
