"""Drives an engine through the texts that are missing: part after part, within a budget, into the cache.

A text is asked for part by part; the next part goes to the engine the moment the last one is there,
while the engine still holds its prompt. A faulty text is asked for again with another seed.
"""

import os
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from core import leases
from core.errors import LlmcfError
from core.progress import Progress, say
from llm import engines, quality
from llm.engines import Engine, Generation, Request, prompt_seed
from llm.texts import worklog
from llm.texts.cache import Entry, TextCache
from llm.texts.queue import OwnPart, Part, Queue, SharedQueue
from llm.texts.recipes import Budget, Manner
from llm.texts.worklog import Account, Job

WAIT_S = 0.5  # before another look at what other workers hold
_SHORTEST_PART = 4  # tokens
_ENDS = (". ", ".\n", "! ", "? ", "\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A text to write: `prompt` ends where the answer begins."""

    name: str
    prompt: str
    openings: tuple[str, ...]
    manner: Manner

    def request(self, number: int, parts: Sequence[str], attempt: int) -> Request:
        """What comes after `parts`."""
        shown = quality.joined(self.openings, parts)
        return Request(
            number=number,
            prompt=self.prompt + shown,
            max_new_tokens=self.manner.part_tokens,
            min_new_tokens=min(_SHORTEST_PART, self.manner.part_tokens),
            seed=prompt_seed(f"{self.name}/{len(parts)}/{attempt}", self.manner.seed),
            stop=_ENDS if self.manner.sentence else (),
        )


def fill(
    cache: TextCache,
    tasks: Mapping[str, Task],
    limits: Budget,
    *,
    manner: Manner,
    model: Path,
    part: Part | None = None,
    job: Job | None = None,
    ray: bool = False,
) -> Account:
    """Generate what the cache lacks, beside any other worker that does the same.

    Args:
        part: write these alone, and ask nobody; None shares the queue of all workers.
        job: what it is for, as a note says it meanwhile.
        ray: let a Ray cluster run the engine.

    Raises:
        LlmcfError: if the engine fails, or leases do not hold where the queue lies.
    """
    missing = {name: task for name, task in tasks.items() if cache.get(name) is None and (not part or part.has(name))}
    account = Account()
    if not missing:
        return account
    whose = f"part {part}: " if part else ""
    say(f"{whose}{len(missing):,} texts to write with {manner.engine}, of {len(tasks):,} that are asked for")
    queue = opened_queue(cache, missing, part)
    note = worklog.noted(cache, job, account, engine=manner.engine, part=part) if job else nullcontext()
    with note:
        try:
            if ray:
                from llm.texts import ray_writing

                ray_writing.write(cache, queue, missing, limits, account, manner, model)
            else:
                with engines.open_engine(manner.engine, model, manner.sampling) as opened:
                    Writer(opened, cache, queue, missing, limits, account).run()
        finally:
            queue.close()
    return account


def spent(budget: Budget, account: Account, taken: int, start: float) -> bool:
    """Whether a run that has begun `taken` texts since `start` takes no more on."""
    minutes = (time.monotonic() - start) / 60
    limits = ((budget.rows, taken), (budget.tokens, account.tokens), (budget.minutes, minutes))
    return any(limit is not None and used >= limit for limit, used in limits)


def opened_queue(cache: TextCache, missing: Iterable[str], part: Part | None) -> Queue:
    """Raises LlmcfError where the queue of all workers cannot be shared; `--shard i/N` needs no lease."""
    if part:
        return OwnPart(missing, part)
    try:
        doubts = leases.probe(cache.folder)
    except LlmcfError as error:
        raise LlmcfError(f"{error}; give each worker a part of its own, --shard i/N, which needs none") from None
    for doubt in doubts:
        say(doubt)
    return SharedQueue(cache, missing, start=os.getpid())


@dataclass(slots=True)
class _Draft:
    task: Task
    attempt: int = 0
    tokens: int = 0
    parts: list[str] = field(default_factory=list)
    finish: list[str] = field(default_factory=list)


class Shelf(Protocol):
    """Where finished texts go."""

    def add(self, entry: Entry) -> None: ...


class Writer:
    """One worker of the queue."""

    def __init__(
        self,
        engine: Engine,
        cache: Shelf,
        queue: Queue,
        tasks: Mapping[str, Task],
        budget: Budget,
        account: Account | None = None,
    ) -> None:
        self._engine, self._cache, self._queue, self._tasks, self._budget = engine, cache, queue, tasks, budget
        self._drafts: dict[int, _Draft] = {}
        self._claimed: deque[str] = deque()
        self._number = self._taken = 0
        self._start = time.monotonic()
        self.account = account or Account()

    def run(self) -> Account:
        """Write until nothing is left to this worker, or the budget is spent.

        Raises:
            LlmcfError: if the engine fails; finished texts are in the cache.
        """
        with Progress(total=len(self._tasks), what="texts") as progress:
            while True:
                while len(self._drafts) < self._engine.window and (task := self._next()):
                    self._submit(_Draft(task))
                if self._drafts:
                    if self._take(self._engine.poll()):
                        progress.advance()
                elif self._queue.others and not self._spent():
                    time.sleep(WAIT_S)  # another worker has the rest; if it dies, we go on with that
                else:
                    break
        self.account.seconds = time.monotonic() - self._start
        return self.account

    def _next(self) -> Task | None:
        """The next text to begin; None if there is none for now."""
        if self._spent():
            return None
        while True:
            if not self._claimed:
                self._claimed = deque(self._queue.claim() or ())
            if not self._claimed:
                return None
            name = self._claimed.popleft()
            if self._queue.mine(name):
                self._taken += 1
                return self._tasks[name]

    def _spent(self) -> bool:
        return spent(self._budget, self.account, self._taken, self._start)

    def _submit(self, draft: _Draft) -> None:
        self._number += 1
        self._drafts[self._number] = draft
        self._engine.submit(draft.task.request(self._number, draft.parts, draft.attempt))

    def _take(self, made: Generation) -> bool:
        """Whether a text is finished with this part."""
        draft = self._drafts.pop(made.number)
        task = draft.task
        draft.parts.append(quality.part(made.text, made.finish, sentence=task.manner.sentence))
        draft.finish.append(made.finish)
        draft.tokens += made.tokens
        self.account.tokens += made.tokens
        self.account.seconds = time.monotonic() - self._start
        if len(draft.parts) < len(task.openings):
            self._submit(draft)
            return False
        faulty = set(quality.FAULTY).intersection(quality.flags(task.openings, draft.parts, draft.finish))
        if faulty and draft.attempt + 1 < task.manner.attempts:
            self.account.again += 1
            self._submit(_Draft(task, attempt=draft.attempt + 1, tokens=draft.tokens))
            return False
        if not self._queue.mine(task.name):  # we slept, and another worker has it now
            self.account.lost += 1
            return False
        self._cache.add(
            Entry(prompt_hash=task.name, parts=tuple(draft.parts), tokens=draft.tokens, finish=tuple(draft.finish))
        )
        self._queue.done(task.name)
        self.account.texts += 1
        return True
