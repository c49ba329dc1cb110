"""How many requests are worked on at once, how many may wait, and what happens to the rest: refused at once.

A queue without an end answers everybody late; one request too many costs the others nothing here. One event loop owns
an `Admission`: it is not for threads.
"""

import asyncio

from llmcf.service.problems import Problem


class Admission:
    """At most `active` requests at once, and `waiting` more in line, first come first served."""

    def __init__(self, active: int, waiting: int) -> None:
        self._free = asyncio.Semaphore(active)
        self._active, self._waiting, self._here = active, waiting, 0

    @property
    def load(self) -> int:
        """Requests that are worked on or wait."""
        return self._here

    @property
    def full(self) -> bool:
        """Whether who comes now is refused."""
        return self._here >= self._active + self._waiting

    async def enter(self, seconds: float) -> None:
        """Take a place, which `leave` gives back; waits at most `seconds`.

        Raises:
            Problem: 503 if the line is full, 504 if the time is over before it is this request's turn.
        """
        if self.full:
            raise overloaded()
        self._here += 1
        try:
            await asyncio.wait_for(self._free.acquire(), seconds)
        except BaseException as error:
            self._here -= 1
            if isinstance(error, TimeoutError):
                raise Problem(504, "deadline", "the request's time was over before its turn") from None
            raise

    def leave(self) -> None:
        """Give the place back, when the work itself has ended: later than its request, if that ran out of time."""
        self._here -= 1
        self._free.release()


def overloaded() -> Problem:
    """For one request too many."""
    return Problem(503, "overloaded", "more requests than the service can do", headers={"Retry-After": "1"})
