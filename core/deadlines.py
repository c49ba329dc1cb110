"""How long whoever asked for something waits still, for all that is done on the way to the answer.

Whoever takes a request in says once how long it may take; from then on each call to another part takes no longer than
what is left of that, and what is left for. Where nobody said anything, as in a verb, nothing is bounded.
"""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from core.errors import Unavailable

_ASIDE_S, _ASIDE_SHARE = 0.05, 0.25  # that is set aside for answering without the part that did not
_FAIR = 0.5  # of its usual time; a part that had less is not to blame
_ENDED_S = 0.005

_END: ContextVar[float] = ContextVar("end", default=math.inf)


class OutOfTime(Unavailable):
    """Whoever asked waits no longer for this: no failure of the part that was, or would have been, asked."""


def begin(seconds: float) -> None:
    """The work of this context is wanted within `seconds`. A little of that is kept for telling the outcome."""
    _END.set(time.monotonic() + seconds - min(_ASIDE_S, _ASIDE_SHARE * seconds))


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """What is asked in the block ends within `seconds`, or sooner where less is left."""
    before = _END.set(min(_END.get(), time.monotonic() + seconds))
    try:
        yield
    finally:
        _END.reset(before)


def left() -> float:
    """Seconds that calls to other parts may still take; none or fewer where it is time to answer, else up to inf."""
    return _END.get() - time.monotonic()


def check() -> None:
    """Raises OutOfTime where it is time to answer."""
    if left() <= 0:
        raise OutOfTime("the request's time is over but for its answer")


@contextmanager
def call(usual: float) -> Iterator[float]:
    """Around one call to a part that may take `usual` seconds: how many it may take now.

    Raises:
        OutOfTime: if none are left, or in place of the part's own Unavailable where it had too few to be blamed.
    """
    check()
    given = min(usual, left())
    try:
        yield given
    except Unavailable as error:
        if given < _FAIR * usual and left() < _ENDED_S:
            raise OutOfTime(f"{error}; it had {given:.3f} s, which were left of the request's time") from error
        raise
