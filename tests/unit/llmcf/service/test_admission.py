"""So many at once, so many in line, the rest refused at once."""

import asyncio
import time
from collections.abc import Callable
from math import inf
from threading import Event
from typing import Any, cast

import pytest

from core import deadlines
from llmcf.service.admission import Admission
from llmcf.service.problems import Problem
from llmcf.service.service import Service


async def hold(door: Admission, until: asyncio.Event, seconds: float = 5.0) -> str:
    try:
        begun = await door.enter(seconds)
    except Problem as problem:
        return problem.kind
    await until.wait()
    door.leave(begun)
    return "done"


def test_what_is_over_the_line_is_refused_at_once_and_the_rest_is_done() -> None:
    async def scenario() -> tuple[list[str], float]:
        door, until = Admission(2, 3), asyncio.Event()
        inside = [asyncio.create_task(hold(door, until)) for _ in range(5)]
        await asyncio.sleep(0.01)
        assert door.load == 5
        start = time.monotonic()
        refused = await asyncio.gather(*(hold(door, until) for _ in range(4)))
        took = time.monotonic() - start
        until.set()
        return [*refused, *await asyncio.gather(*inside)], took

    outcomes, took = asyncio.run(scenario())
    assert outcomes == ["overloaded"] * 4 + ["done"] * 5
    assert took < 0.5


def test_the_line_is_full_for_those_who_are_about_to_enter_it_too() -> None:
    door = Admission(2, 3)
    assert [door.full(coming) for coming in (0, 4, 5)] == [False, False, True]


def test_a_line_that_takes_longer_than_there_is_time_is_none_to_stand_in() -> None:
    """Work takes 0.1 s here, so the line that is left takes 0.3 s."""

    async def scenario() -> tuple[str, str, str]:
        door, until = Admission(2, 20), asyncio.Event()
        until.set()

        async def work() -> None:
            begun = await door.enter(60.0)
            await asyncio.sleep(0.1)
            door.leave(begun)

        for _ in range(20):
            await asyncio.gather(work(), work())
        crowd = [asyncio.create_task(work()) for _ in range(6)]
        await asyncio.sleep(0)
        short, long = await hold(door, until, 0.2), asyncio.create_task(hold(door, until, 5.0))
        await asyncio.gather(*crowd)
        return short, await long, await hold(door, until, 0.05)

    assert asyncio.run(scenario()) == ("overloaded", "done", "done"), "who finds no line is never sent away"


def test_who_waits_too_long_is_told_and_leaves_the_line() -> None:
    async def scenario() -> str:
        door, until = Admission(1, 1), asyncio.Event()
        first = asyncio.create_task(hold(door, until))
        await asyncio.sleep(0)
        late = await hold(door, until, 0.02)
        assert door.load == 1
        until.set()
        assert await first == "done"
        assert door.load == 0
        return late

    assert asyncio.run(scenario()) == "deadline"


def test_who_goes_away_while_waiting_leaves_the_line() -> None:
    async def scenario() -> None:
        door = Admission(1, 1)
        begun = await door.enter(1.0)
        waiting = asyncio.create_task(door.enter(5.0))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert door.load == 1
        door.leave(begun)
        assert door.load == 0

    asyncio.run(scenario())


def test_work_that_outlives_its_request_keeps_its_place() -> None:
    """Else requests that run out of time would pile up in front of threads that are still busy with the ones before."""

    async def scenario() -> tuple[str, str, int]:
        service = Service(*[cast(Any, None)] * 3, admission=Admission(1, 0))
        busy = Event()
        first = await outcome(service, busy.wait, 0.05)
        second = await outcome(service, lambda: True, 0.5)
        busy.set()
        while service.admission.load:
            await asyncio.sleep(0.005)
        assert await service.do(lambda: 7, 1.0) == 7
        return first, second, service.admission.load

    assert asyncio.run(scenario()) == ("deadline", "overloaded", 0)


async def outcome(service: Service, work: Callable[[], object], seconds: float) -> str:
    try:
        await service.do(work, seconds)
        return "done"
    except Problem as problem:
        return problem.kind


def test_work_knows_how_long_it_is_waited_for() -> None:
    """Less what it waited for its turn; and so does what goes past the queue."""

    async def scenario() -> tuple[float, float, float]:
        service = Service(*[cast(Any, None)] * 3, admission=Admission(1, 1))
        first = asyncio.create_task(service.do(lambda: time.sleep(0.2), 60.0))
        await asyncio.sleep(0.01)
        later = asyncio.create_task(service.do(deadlines.left, 60.0))
        beside = await service.aside(deadlines.left, 90.0)
        await first
        return await later, beside, deadlines.left()

    later, beside, outside = asyncio.run(scenario())
    assert later < 59.85
    assert 60.0 < beside < 90.0
    assert outside == inf


def test_what_goes_past_the_queue_keeps_to_its_time() -> None:
    service = Service(*[cast(Any, None)] * 3)
    start = time.monotonic()

    async def scenario() -> None:
        busy = Event()
        with pytest.raises(Problem, match="over before its answer"):
            await service.aside(lambda: busy.wait(5), 0.05)
        assert time.monotonic() - start < 3.0
        busy.set()

    asyncio.run(scenario())


def test_work_that_fails_gives_its_place_back() -> None:
    async def scenario() -> None:
        service = Service(*[cast(Any, None)] * 3, admission=Admission(1, 0))
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                await service.do(lambda: 1 // 0, 1.0)
            await asyncio.sleep(0.01)

    asyncio.run(scenario())
