"""What the routes of one worker share."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from core import deadlines, settings
from llmcf.service.access import Door
from llmcf.service.admission import Admission
from llmcf.service.engine import Engine
from llmcf.service.inbox import Inbox
from llmcf.service.probe import SILENT, Probe
from llmcf.service.problems import Problem
from llmcf.service.reception import Reception
from llmcf.service.shadow import Shadow
from llmcf.service.store import Store

WAITING = 16  # requests of one worker
T = TypeVar("T")


@dataclass(slots=True)
class Service:
    """One worker's parts; `do` runs work of theirs within a deadline."""

    engine: Engine
    store: Store
    reception: Reception
    door: Door = field(default_factory=Door)
    admission: Admission = field(default_factory=lambda: Admission(settings.requests_at_once(), WAITING))
    pool: ThreadPoolExecutor = field(init=False)
    probe: Probe = field(init=False)
    shadow: Shadow = field(init=False)

    def __post_init__(self) -> None:
        self.pool = ThreadPoolExecutor(self.admission.active, "work")
        self.probe = Probe(lambda: self.engine.probe())
        self.shadow = Shadow(self.engine, self.store, lambda: self.admission.busy)

    @classmethod
    def open(cls, dataset: str, place: Path, *, loopback: bool) -> "Service":
        """Raises LlmcfError if nothing is served, by what the supervisor wrote into the folder `place`."""
        path = place / "service.db"
        store = Store(path)
        return cls(Engine(dataset, place), store, Reception(dataset, Inbox(path), store), Door(loopback=loopback))

    def close(self) -> None:
        self.shadow.close()
        self.probe.close()
        self.engine.close()
        self.pool.shutdown(wait=False)

    async def checks(self, seconds: float) -> dict[str, str]:
        """Each part that an answer needs: "ok", or what is the matter; within `seconds`."""
        future = asyncio.wrap_future(self.probe.begin())
        future.add_done_callback(_unseen)
        try:
            return await asyncio.wait_for(asyncio.shield(future), seconds)
        except TimeoutError:
            return SILENT

    async def do(self, work: Callable[[], T], seconds: float) -> T:
        """Run `work` in a thread, when it is its turn; the answer, or the refusal, comes within `seconds`.

        What the work asks of other parts is bound by what is left of them.

        Raises:
            Problem: 503 if too many wait, 504 if the time is over; the thread then ends its work unseen, soon.
        """
        end = time.monotonic() + seconds
        begun = await self.admission.enter(seconds)
        if (left := end - time.monotonic()) <= 0:
            self.admission.leave(begun)
            raise _late()
        return await _within(self.pool, work, left, partial(self._ended, begun))

    async def aside(self, work: Callable[[], T], seconds: float) -> T:
        """As `do`, but past the queue: for who looks after the service, most of all when it has too much to do."""
        return await _within(None, work, seconds, _unseen)

    def _ended(self, begun: float, done: asyncio.Future[Any]) -> None:
        """A thread is free again. What went wrong in one that nobody waits for any more is taken note of here."""
        self.admission.leave(begun)
        _unseen(done)


async def _within(
    pool: ThreadPoolExecutor | None, work: Callable[[], T], seconds: float, ended: Callable[[asyncio.Future[T]], None]
) -> T:
    context = copy_context()
    context.run(deadlines.begin, seconds)
    future = asyncio.get_running_loop().run_in_executor(pool, context.run, work)
    future.add_done_callback(ended)
    try:
        return await asyncio.wait_for(asyncio.shield(future), seconds)
    except TimeoutError:
        raise _late() from None


def _unseen(done: asyncio.Future[Any]) -> None:
    if not done.cancelled():
        done.exception()


def _late() -> Problem:
    return Problem(504, "deadline", "the request's time was over before its answer")
