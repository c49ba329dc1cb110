"""A breaker opens after failures in a row, lets one request try, and closes when that works."""

import pytest

from core.deadlines import OutOfTime
from core.errors import LlmcfError, Unavailable, UsageError
from llmcf.service.breaker import OPEN, Breaker


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr("llmcf.service.breaker.time.monotonic", lambda: now[0])
    return now


def use(breaker: Breaker, error: LlmcfError | None = None) -> str:
    try:
        with breaker():
            if error:
                raise error
            return "done"
    except Unavailable as found:
        return "refused" if "left alone" in str(found) else "failed"
    except LlmcfError:
        return "failed"


def test_it_opens_after_failures_in_a_row_and_closes_after_one_that_works(clock: list[float]) -> None:
    breaker = Breaker("part", failures=2, seconds=5.0)
    assert [use(breaker, Unavailable("x")), use(breaker), use(breaker, LlmcfError("x"))] == ["failed", "done", "failed"]
    assert not breaker.open, "what works in between counts"
    assert use(breaker, Unavailable("x")) == "failed"
    assert breaker.open
    assert use(breaker) == "refused"
    clock[0] += 5.1
    assert use(breaker) == "done"
    assert [use(breaker), breaker.open] == ["done", False]


def test_of_many_one_tries_and_a_failed_try_opens_it_again(clock: list[float]) -> None:
    breaker = Breaker("part", failures=1, seconds=5.0)
    use(breaker, Unavailable("x"))
    clock[0] += 5.1
    with pytest.raises(Unavailable, match="x"), breaker():
        assert use(breaker) == "refused", "somebody is trying"
        raise Unavailable("x")
    clock[0] += 4.9
    assert use(breaker) == "refused"


def test_a_wrong_request_is_no_failure_of_the_part(clock: list[float]) -> None:
    breaker = Breaker("part", failures=1)
    for _ in range(3):
        with pytest.raises(UsageError), breaker():
            raise UsageError("wrong")
    assert not breaker.open


def test_a_caller_in_a_hurry_says_nothing_of_the_part(clock: list[float]) -> None:
    breaker = Breaker("part", failures=2, seconds=5.0)
    assert use(breaker, Unavailable("x")) == "failed"
    for _ in range(3):
        assert use(breaker, OutOfTime("x")) == "failed"
    assert not breaker.open
    assert use(breaker, Unavailable("x")) == "failed"
    assert breaker.open, "nor has it answered"


def test_whether_it_is_open_can_be_seen_from_outside(clock: list[float]) -> None:
    breaker = Breaker("seen", failures=2, seconds=5.0)

    def seen() -> float:
        return OPEN.labels("seen")._value.get()

    told = [seen()]
    for error in (Unavailable("x"), Unavailable("x"), None):
        clock[0] += 6
        use(breaker, error)
        told.append(seen())
    assert told == [0, 0, 1, 0]
    use(breaker, Unavailable("x"))
    use(breaker, Unavailable("x"))
    breaker.reset()
    assert (seen(), breaker.open) == (0, False)


def test_one_try_is_under_way_however_long_it_takes(clock: list[float]) -> None:
    """A part that hangs would else be given another thread each second, until none is left for anybody."""
    breaker = Breaker("part", failures=1, seconds=5.0)
    use(breaker, Unavailable("x"))
    clock[0] += 5.1
    with pytest.raises(Unavailable, match="x"), breaker():
        clock[0] += 60
        assert use(breaker) == "refused", "the first try hangs"
        raise Unavailable("x")
    clock[0] += 5.1
    assert use(breaker) == "done"


def test_a_try_that_ends_otherwise_is_no_longer_under_way(clock: list[float]) -> None:
    breaker = Breaker("part", failures=1, seconds=5.0)
    for error in (ZeroDivisionError, UsageError):
        use(breaker, Unavailable("x"))
        clock[0] += 5.1
        with pytest.raises(error), breaker():
            raise error
        clock[0] += 5.1
        assert use(breaker) == "done"
