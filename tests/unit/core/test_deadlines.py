"""A call takes no longer than what is left of the request's time; a part with too little of it is not blamed."""

from contextvars import copy_context
from math import inf
from types import SimpleNamespace

import pytest

from core import deadlines
from core.deadlines import OutOfTime
from core.errors import Unavailable


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(deadlines, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


def wanted(seconds: float, work):
    def run():
        deadlines.begin(seconds)
        return work()

    return copy_context().run(run)


def given(usual: float) -> float:
    with deadlines.call(usual) as seconds:
        return seconds


def test_nothing_is_bounded_where_nobody_waits():
    assert deadlines.left() == inf
    assert given(30.0) == 30.0


def test_a_call_gets_what_is_left_but_for_a_little_to_answer_in():
    assert wanted(10.0, lambda: given(0.4)) == 0.4
    assert wanted(0.3, lambda: given(0.4)) == pytest.approx(0.25)
    assert wanted(0.04, lambda: given(0.4)) == pytest.approx(0.03)
    assert deadlines.left() == inf, "it ends with its context"


def test_where_no_time_is_left_nothing_is_asked(clock: list[float]):
    def late(after: float) -> float:
        clock[0] += after
        return given(0.4)

    assert wanted(1.0, lambda: late(0.9)) == pytest.approx(0.05)
    with pytest.raises(OutOfTime):
        wanted(1.0, lambda: late(0.96))


@pytest.mark.parametrize(
    ("seconds", "usual", "takes", "blamed"),
    [
        (0.05, 1.0, True, False),  # it had a 25th of its time
        (0.2, 0.2, True, True),  # it had most of it
        (0.5, 2.0, False, True),  # it failed by itself
        (None, 1.0, True, True),
    ],
)
def test_who_is_to_blame(clock: list[float], seconds: float | None, usual: float, takes: bool, blamed: bool):
    def fails() -> None:
        with deadlines.call(usual) as granted:
            clock[0] += granted if takes else 0.0
            raise Unavailable("it does not answer")

    with pytest.raises(Unavailable, match="it does not answer") as error:
        wanted(seconds, fails) if seconds else fails()
    assert isinstance(error.value, OutOfTime) is not blamed


def test_a_block_has_no_more_time_than_is_left_around_it() -> None:
    with deadlines.within(5.0):
        assert deadlines.left() == 5.0
        with deadlines.within(60.0):
            assert deadlines.left() == 5.0
        with deadlines.within(0.0), pytest.raises(OutOfTime):
            deadlines.check()
    assert deadlines.left() == inf
