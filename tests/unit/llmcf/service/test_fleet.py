"""Workers that end are replaced: at once where that was chance, after longer and longer where they cannot start."""

from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any, cast

import pytest

from core.errors import Unavailable
from llmcf.service import fleet, state
from llmcf.service.fleet import Fleet, await_workers


class Process:
    """One that ends when it is told to."""

    def __init__(self, pid: int) -> None:
        self.pid, self.returncode = pid, None

    def end(self) -> None:
        self.returncode = 1

    def poll(self) -> int | None:
        return self.returncode


class Clock:
    """`time` as the fleet sees it; who sleeps until a worker is ready waits no longer than that takes."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(fleet, "time", found)
    return found


@pytest.fixture
def workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    numbers = iter(range(1, 1000))
    monkeypatch.setattr(fleet, "_start", lambda *_, **__: Process(next(numbers)))
    monkeypatch.setattr(fleet.traffic, "forget", lambda *_: None)
    return Fleet("shop", tmp_path, [cast(Any, SimpleNamespace(fileno=lambda: 3))], 2, tmp_path)


def pids(workers: Fleet) -> list[int]:
    return [one.pid for one in workers.processes]


def end(workers: Fleet, *pids: int) -> None:
    for one in cast(list[Any], workers.processes):
        if one.pid in pids:
            one.end()


def test_one_that_ran_for_a_while_is_replaced_at_once(workers: Fleet, clock: Clock) -> None:
    workers.fill()
    clock.now += 100
    end(workers, 1)
    workers.fill()
    assert pids(workers) == [2, 3]


def test_those_that_end_soon_are_replaced_after_longer_and_longer(workers: Fleet, clock: Clock) -> None:
    workers.fill()
    waited = []
    for _ in range(7):
        clock.now += 3
        end(workers, *pids(workers))
        start = clock.now
        workers.fill()
        assert pids(workers) == []
        while not pids(workers):
            clock.now += 0.5
            workers.fill()
        waited.append(clock.now - start)
    assert waited == [2, 4, 8, 16, 30, 30, 30]
    clock.now += 100
    end(workers, *pids(workers))
    workers.fill()
    assert len(pids(workers)) == 2, "it ran well, so that is forgotten"


def test_a_worker_that_is_still_to_come_is_waited_for(
    workers: Fleet, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers.fill()
    clock.now += 3
    end(workers, 1, 2)
    monkeypatch.setattr(state, "workers", lambda _: {})
    with pytest.raises(Unavailable, match="not every worker answers with release 7"):
        await_workers(workers, 7, Event())
    monkeypatch.setattr(state, "workers", lambda _: {one.pid: 7 for one in workers.processes})
    await_workers(workers, 7, Event())
    assert len(pids(workers)) == 2
