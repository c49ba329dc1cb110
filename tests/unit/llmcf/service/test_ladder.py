"""How far down the ladder a request gets before its time is over; releases are played."""

import time
from collections.abc import Callable
from contextvars import copy_context
from types import SimpleNamespace
from typing import Any, cast

import pytest

from core import deadlines
from core.errors import LlmcfError, Unavailable
from llmcf.service import arm_counts, ladder
from llmcf.service.breaker import Breaker
from llmcf.service.ways import FULL, PREVIOUS, Way
from llmcf.serving.question import Question, Ranking

HANGS_S = 0.1  # what a call to a release may take


class Released:
    """One whose models hang, or refuse."""

    def __init__(self, number: int, hangs: bool) -> None:
        self.release, self.hangs, self.asked = SimpleNamespace(number=number), hangs, 0
        self.breaker = Breaker(f"played, release {number}", failures=100)
        self.features = SimpleNamespace(watch=lambda: None, degraded=False, stale=())
        self.recommender = self
        self.lacks_examples = False

    def rank(self, *_: Any) -> Ranking:
        self.asked += 1
        if not self.hangs:
            raise LlmcfError("the graph refuses")
        with deadlines.call(HANGS_S) as seconds:
            time.sleep(seconds)
            raise Unavailable("no answer")


def descend(seconds: float | None, *hang: bool) -> list[int]:
    """How often each release is asked, where none answers; counts as its failures what it is to blame for."""
    played = [Released(100 + at, hangs) for at, hangs in enumerate(hang)]
    rungs = (FULL, *[PREVIOUS] * (len(played) - 1))
    way = Way("", "live", cast(Any, tuple(zip(played, rungs, strict=True))))
    engine = cast(Any, SimpleNamespace(client=lambda _: None, drop_client=lambda _: None))

    def run() -> object:
        if seconds:
            deadlines.begin(seconds)
        return ladder.ranked_by(engine, way, lambda _: Question(user="anna"))

    start = time.monotonic()
    assert copy_context().run(run) is None
    assert seconds is None or time.monotonic() - start < seconds
    return [one.asked for one in played]


@pytest.fixture
def failures() -> Callable[[], float]:
    def count() -> float:
        return sum(arm_counts.FAILURES.labels("", "live", number)._value.get() for number in (100, 101, 102))

    before = count()
    return lambda: count() - before


def test_with_time_every_release_is_asked(failures: Callable[[], float]) -> None:
    assert descend(None, True, False, True) == [1, 1, 1]
    assert descend(2.0, True, False, True) == [1, 1, 1]
    assert failures() == 6


def test_when_time_is_short_no_further_release_is_asked(failures: Callable[[], float]) -> None:
    assert descend(0.12, True, True, True) == [1, 0, 0]
    assert failures() == 1, "it had most of its time"


def test_a_caller_in_a_hurry_blames_nobody(failures: Callable[[], float]) -> None:
    assert descend(0.04, True, True) == [1, 0]
    assert failures() == 0
