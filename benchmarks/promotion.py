"""Promotions and rollbacks of a running service while clients ask: is a request lost, does an answer mix releases?"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import load
from benchmarks.expected import faults
from core.errors import LlmcfError
from llmcf.service import keys, state
from llmcf.serving import releases
from tests.running_service import Running

SWITCH_S = 60.0
_HOLD_S = 2.0  # between a switch and the next


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """`switches`: what was done, and the seconds until every worker answered with that release. `mixed`: of `answers`
    those that are not, as a whole, what the release that they name gives."""

    switches: list[tuple[str, float]]
    requests: int
    failed: int
    releases: list[int]
    answers: int
    mixed: int
    p50_ms: float
    p99_ms: float
    most_ms: float


def make_live(service: Running, dataset: str, number: int, admin: str) -> float:
    """Promote a release by the service's own route; seconds until every worker has it.

    Raises:
        LlmcfError: if the service refuses, or a worker does not switch.
    """
    start = time.monotonic()
    if _switched(dataset, number):
        return 0.0
    answer = service.http.post(f"/releases/{number}/promotion", headers={keys.HEADER: admin, "X-Timeout-Ms": "30000"})
    if answer.status_code != 202:
        raise LlmcfError(f"release {number} is not made live: {answer.text}")
    return _awaited(dataset, number, start)


def measure(
    service: Running,
    dataset: str,
    numbers: Sequence[int],
    plan: load.Plan,
    folder: Path,
    admin: str,
    held: int,
) -> Found:
    """Promote the second release and roll back to the first, again and again for as long as the load runs.

    Args:
        held: so many of the answers are compared with what their release gives.

    Raises:
        LlmcfError: as `make_live`; if the load ends badly, or before there was a promotion and a rollback.
    """
    first, second = numbers
    make_live(service, dataset, first, admin)
    process, switches = load.start(plan, folder), list[tuple[str, float]]()
    ways = (
        (f"promotion of {second}", lambda: make_live(service, dataset, second, admin)),
        (f"rollback to {first}", lambda: _rolled_back(dataset, first)),
    )
    try:
        while process.poll() is None:
            name, switch = ways[len(switches) % len(ways)]
            time.sleep(_HOLD_S)
            switches.append((name, switch()))
    finally:
        process.terminate()
        process.wait()
    if process.returncode:
        raise LlmcfError(f"the load ended with {process.returncode}")
    del switches[-1:]  # it may have ended after the load
    if len(switches) < len(ways):
        raise LlmcfError(f"{plan.seconds:g} s of load are too short for a promotion and a rollback")
    outcome = load.read(folder)
    spent, compared = [one.ms for one in outcome.asked], outcome.answers[-held:]
    return Found(
        switches=switches,
        requests=len(spent),
        failed=sum(one.status != 200 for one in outcome.asked),
        releases=sorted({one.release for one in outcome.answers}),
        answers=len(compared),
        mixed=len(faults(dataset, compared, plan.k)),
        p50_ms=round(float(np.percentile(spent, 50)), 1),
        p99_ms=round(float(np.percentile(spent, 99)), 1),
        most_ms=round(max(spent), 1),
    )


def _rolled_back(dataset: str, number: int) -> float:
    start = time.monotonic()
    with releases.locked():
        back = releases.rollback(dataset)
    if back.number != number:
        raise LlmcfError(f"a rollback went to release {back.number}, not {number}")
    return _awaited(dataset, number, start)


def _awaited(dataset: str, number: int, start: float) -> float:
    while not _switched(dataset, number):
        if time.monotonic() - start > SWITCH_S:
            raise LlmcfError(f"release {number} did not take over in {SWITCH_S:.0f} s")
        time.sleep(0.05)
    return round(time.monotonic() - start, 2)


def _switched(dataset: str, number: int) -> bool:
    return set(state.workers(state.folder(dataset)).values()) == {number}
