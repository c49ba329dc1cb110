"""How many requests are worked on at once, how many may wait, and what happens to the rest: refused at once.

A queue without an end answers everybody late; one request too many costs the others nothing here. One event loop owns
an `Admission`: it is not for threads.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

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

    @asynccontextmanager
    async def __call__(self, seconds: float) -> AsyncIterator[None]:
        """A place for the block; waits at most `seconds`.

        Raises:
            Problem: 503 if the line is full, 504 if the time is over before it is this request's turn.
        """
        if self._here >= self._active + self._waiting:
            raise Problem(503, "overloaded", "more requests than the service can do", headers={"Retry-After": "1"})
        self._here += 1
        try:
            try:
                await asyncio.wait_for(self._free.acquire(), seconds)
            except TimeoutError:
                raise Problem(504, "deadline", "the request's time was over before its turn") from None
            try:
                yield
            finally:
                self._free.release()
        finally:
            self._here -= 1
