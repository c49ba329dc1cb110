"""What the routes of one worker share."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from llmcf.service.access import Door
from llmcf.service.admission import Admission
from llmcf.service.engine import Engine
from llmcf.service.inbox import Inbox
from llmcf.service.problems import Problem
from llmcf.service.reception import Reception
from llmcf.service.shadow import Shadow
from llmcf.service.store import Store

ACTIVE, WAITING = 4, 16  # requests of one worker
_PROBE_S = 5.0
T = TypeVar("T")


@dataclass(slots=True)
class Service:
    """One worker's parts; `do` runs work of theirs within a deadline."""

    engine: Engine
    store: Store
    reception: Reception
    door: Door = field(default_factory=Door)
    admission: Admission = field(default_factory=lambda: Admission(ACTIVE, WAITING))
    pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(ACTIVE, "work"))
    shadow: Shadow = field(init=False)

    def __post_init__(self) -> None:
        self.shadow = Shadow(self.engine, self.store, lambda: self.admission.load >= ACTIVE)

    @classmethod
    def open(cls, dataset: str, place: Path, *, loopback: bool) -> "Service":
        """Raises LlmcfError if nothing is served, by what the supervisor wrote into the folder `place`."""
        path = place / "service.db"
        store = Store(path)
        return cls(Engine(dataset, place), store, Reception(dataset, Inbox(path), store), Door(loopback=loopback))

    def close(self) -> None:
        self.shadow.close()
        self.engine.close()
        self.pool.shutdown(wait=False)

    async def probe(self) -> dict[str, str]:
        """Each part that an answer needs: "ok", or what is the matter."""
        loop = asyncio.get_running_loop()
        try:
            return await asyncio.wait_for(loop.run_in_executor(None, self.engine.probe), _PROBE_S)
        except TimeoutError:
            return {"answer": f"none in {_PROBE_S:.0f} s"}

    async def do(self, work: Callable[[], T], seconds: float) -> T:
        """Run `work` in a thread, when it is its turn; the answer, or the refusal, comes within `seconds`.

        Raises:
            Problem: 503 if too many wait, 504 if the time is over; the thread then ends its work unseen.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        await self.admission.enter(seconds)
        future = loop.run_in_executor(self.pool, copy_context().run, work)
        future.add_done_callback(self._ended)
        try:
            return await asyncio.wait_for(asyncio.shield(future), end - loop.time())
        except TimeoutError:
            raise Problem(504, "deadline", "the request's time was over before its answer") from None

    def _ended(self, done: asyncio.Future[Any]) -> None:
        """A thread is free again. What went wrong in one that nobody waits for any more is taken note of here."""
        self.admission.leave()
        if not done.cancelled():
            done.exception()
