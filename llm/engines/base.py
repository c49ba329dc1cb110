"""What every engine offers: a window of requests under way, submitted one by one, polled in the order they finish.

Back-pressure is the window: whoever drives an engine keeps at most `window` requests under way, so a queue of millions
is never in memory, a budget stops by submitting no more, and a text that needs a second part goes on at once.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How the next token is drawn. Temperature and top-k are the authors'; temperature 0 is greedy.

    A small model falls into loops without a mild `repetition_penalty` (1 is none).
    """

    temperature: float = 0.6
    top_k: int = 50
    repetition_penalty: float = 1.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Continue `prompt` (chat template already applied), up to a `stop` string, which belongs to the text.

    Args:
        number: the caller's name for it, at least 0 and not under way already.
        seed: 31 bits; engines that cannot seed a single request leave it out.
        choices: ask for the log-probabilities of these as the next token instead of a text; vLLM only.
    """

    number: int
    prompt: str
    max_new_tokens: int
    seed: int = 0
    min_new_tokens: int = 0
    stop: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """What came of request `number`; `finish` is "stop" (the model or a stop string ended it) or "length" (the cap).

    `choices` are log-probabilities that sum to one over the request's choices.
    """

    number: int
    text: str
    tokens: int
    finish: str
    choices: tuple[float, ...] = ()


class Engine(Protocol):
    """A language model that is ready to write, between `__enter__` and `__exit__`."""

    name: str
    window: int  # requests that keep it busy

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def submit(self, request: Request) -> None:
        """Take a request on.

        Raises:
            LlmcfError: if the engine has failed.
        """
        ...

    def poll(self) -> Generation:
        """Wait for the next request to finish; one must be under way.

        Raises:
            LlmcfError: if the engine fails or stalls; what was polled before is good.
        """
        ...


def complete(engine: Engine, requests: Iterable[Request]) -> Iterator[Generation]:
    """Run requests through an engine; the next one is drawn only when there is room for it."""
    waiting, live = iter(requests), 0
    while True:
        while live < engine.window and (request := next(waiting, None)) is not None:
            engine.submit(request)
            live += 1
        if not live:
            return
        yield engine.poll()
        live -= 1


def prompt_seed(prompt: str, seed: int) -> int:
    """A 31-bit seed of its own for each prompt, so that its text does not depend on what else is asked."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{prompt}".encode()).digest()[:4]) >> 1
