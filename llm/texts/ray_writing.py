"""`--engine ray`: what is missing goes through Ray Data, and what comes back into the same cache.

Ray places our writers on a cluster and starts them again; the cache brings what Ray lacks: nothing that was finished is
asked again by the next run, on the next day, or by a worker without Ray. Texts are those of the engine that runs.
"""

import secrets
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from core import environments, settings
from core.errors import Unavailable, from_json
from core.progress import Progress, say
from core.settings import PROJECT
from llm.engines.process import LinesProcess
from llm.texts.cache import Entry, TextCache
from llm.texts.queue import Queue
from llm.texts.recipes import Budget, Manner
from llm.texts.worklog import Account
from llm.texts.writing import WAIT_S, Task, spent

_DRIVER = Path(__file__).with_name("ray_driver.py")
_START_S = 300.0  # a cluster of this machine takes some seconds
_SILENCE_S = 120.0  # the driver says that it lives far more often
_REACHED_S = 10.0  # Ray itself tries for minutes
_BATCH = 256  # texts: what is lost with a machine, and how often the engine runs dry


def write(
    cache: TextCache,
    queue: Queue,
    tasks: Mapping[str, Task],
    budget: Budget,
    account: Account,
    manner: Manner,
    model: Path,
) -> None:
    """Write what the queue gives, until nothing is left to us or the budget is spent.

    Raises:
        Unavailable: if no cluster answers.
        LlmcfError: if the environment is not built, or Ray or a writer fails; finished texts are in the cache.
    """
    python = environments.python("ray")
    _reach(settings.ray_address())
    start = time.monotonic()
    while not spent(budget, account, account.texts, start):
        names = _claimed(queue, None if budget.rows is None else budget.rows - account.texts)
        if names:
            driver = _Driver(python, names, tasks, manner, model)
            driver.run(cache, queue, budget, account, start)
        elif queue.others:
            time.sleep(WAIT_S)
        else:
            break
    account.seconds = time.monotonic() - start


def _reach(address: str | None) -> None:
    """Raises Unavailable where nothing listens at the address of a cluster."""
    host, _, port = (address or "").rpartition(":")
    if not host:  # found by Ray, or started by it
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), _REACHED_S).close()
    except (OSError, OverflowError) as error:
        raise Unavailable(f"no Ray cluster answers at {address} (LLMCF_RAY_ADDRESS): {error}") from None


def _claimed(queue: Queue, limit: int | None) -> list[str]:
    """All that is ours, since Ray shares it out."""
    names: list[str] = []
    while (limit is None or len(names) < limit) and (some := queue.claim()):
        names += some
    return names[:limit]


class _Driver:
    """One run of the driver over `names`."""

    def __init__(
        self, python: Path, names: Sequence[str], tasks: Mapping[str, Task], manner: Manner, model: Path
    ) -> None:
        self._python, self._tasks, self._left = python, tasks, list(names)
        actors = settings.ray_actors()
        self._options = {
            "address": settings.ray_address(),
            "actors": actors,
            "gpus": settings.ray_gpus(),
            "batch": min(_BATCH, -(-len(names) // actors)),
            "command": [sys.executable, "-m", "llm.texts.remote"],
            "folder": str(PROJECT),
            "variables": settings.for_writers_elsewhere(),
            "start": {"manner": asdict(manner), "model": str(model)},
        }
        self._total = len(names)

    def run(self, cache: TextCache, queue: Queue, budget: Budget, account: Account, start: float) -> None:
        """Put what comes into the cache.

        Raises:
            LlmcfError: see `write`.
        """
        where = self._options["address"] or "a cluster of this machine"
        say(f"{self._total:,} texts on Ray at {where}, {self._options['actors']} actors")
        own = {} if self._options["address"] else {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        child = LinesProcess("ray", {"RAY_USAGE_STATS_ENABLED": "0", "PYTHONUNBUFFERED": "1", **own})
        whole = False
        try:
            child.start([self._python, "-P", _DRIVER])
            child.send(self._options)
            for name in self._left:
                task = self._tasks[name]
                child.send([task.name, task.prompt, list(task.openings)])
            child.end_input()
            with Progress(total=self._total, what="texts") as progress:
                patience = _START_S
                while not whole and not spent(budget, account, 0, start):
                    answer = child.read(patience)
                    if "error" in answer:
                        raise from_json(answer["error"])
                    if "doubt" in answer:
                        say(answer["doubt"])
                    for text in answer.get("texts", ()):
                        progress.advance()
                        _keep(text, cache, queue, account)
                    account.again += answer.get("again", 0)
                    account.seconds = time.monotonic() - start
                    patience, whole = _SILENCE_S, "done" in answer
        finally:
            child.close(kill=not whole)


def _keep(text: list, cache: TextCache, queue: Queue, account: Account) -> None:
    name, parts, tokens, finish = text
    account.tokens += tokens
    if not queue.mine(name):
        account.lost += 1
        return
    cache.add(Entry(prompt_hash=name, parts=tuple(parts), tokens=tokens, finish=tuple(finish)))
    queue.done(name)
    account.texts += 1
