"""So many at once, so many in line, the rest refused at once."""

import asyncio
import time

import pytest

from llmcf.service.admission import Admission
from llmcf.service.problems import Problem


async def hold(door: Admission, until: asyncio.Event, seconds: float = 5.0) -> str:
    try:
        async with door(seconds):
            await until.wait()
            return "done"
    except Problem as problem:
        return problem.kind


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


def test_an_error_within_frees_the_place() -> None:
    async def scenario() -> None:
        door = Admission(1, 0)
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                async with door(1.0):
                    raise ZeroDivisionError

    asyncio.run(scenario())
