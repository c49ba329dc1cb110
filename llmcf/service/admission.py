"""How many requests are worked on at once, how many may wait, and what happens to the rest: refused at once.

A queue without an end answers everybody late; one request too many costs the others nothing here, nor does one that
would only be told, at its deadline, that it waited in vain. One event loop owns an `Admission`: it is not for threads.
"""

import asyncio
import time

from llmcf.service.problems import Problem

_LATE = 0.6  # of a request's time: a line that takes longer, on average, is none to stand in
_NEWEST = 0.25  # what the newest counts in the mean of how long work takes


class Admission:
    """At most `active` requests at once, and `waiting` more in line, first come first served."""

    def __init__(self, active: int, waiting: int) -> None:
        self._free = asyncio.Semaphore(active)
        self.active, self._waiting, self._here = active, waiting, 0
        self._work_s = 0.0  # that one takes, on average

    @property
    def load(self) -> int:
        """Requests that are worked on or wait."""
        return self._here

    @property
    def busy(self) -> bool:
        """Whether who comes now waits."""
        return self._here >= self.active

    def full(self, coming: int = 0) -> bool:
        """Whether who asks now is refused, where `coming` requests are here or about to enter."""
        return max(self._here, coming) >= self.active + self._waiting

    async def enter(self, seconds: float) -> float:
        """Take a place, which `leave` gives back; waits at most `seconds`. Returns when work began, for `leave`.

        Raises:
            Problem: 503 if the line is full, or so slow that the answer would be too late; 504 if the time is over
                before it is this request's turn all the same.
        """
        too_late = (self._here + 1) / self.active * self._work_s > _LATE * seconds
        if self.full() or (too_late and self.busy):
            raise overloaded()
        self._here += 1
        try:
            await asyncio.wait_for(self._free.acquire(), seconds)
        except BaseException as error:
            self._here -= 1
            if isinstance(error, TimeoutError):
                raise Problem(504, "deadline", "the request's time was over before its turn") from None
            raise
        return time.monotonic()

    def leave(self, begun: float) -> None:
        """Give the place back, when the work itself has ended: later than its request, if that ran out of time."""
        self._work_s += _NEWEST * (time.monotonic() - begun - self._work_s)
        self._here -= 1
        self._free.release()


def overloaded() -> Problem:
    """For one request too many."""
    return Problem(503, "overloaded", "more requests than the service can do", headers={"Retry-After": "1"})
