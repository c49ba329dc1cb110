"""What every engine offers."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How the next token is drawn. Temperature and top-k are the authors'; temperature 0 is greedy.

    A small model falls into loops without a mild `repetition_penalty` (1 is none), and is content with half a sentence
    without `min_new_tokens`.
    """

    temperature: float = 0.6
    top_k: int = 50
    repetition_penalty: float = 1.05
    min_new_tokens: int = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """The continuation of prompt `index`; `finish` is "stop" (the model ended) or "length" (the cap did)."""

    index: int
    text: str
    tokens: int
    finish: str


class Engine(Protocol):
    """A language model that is ready to write, between `__enter__` and `__exit__`."""

    name: str

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def generate(self, prompts: Sequence[str], *, max_new_tokens: int, seed: int) -> Iterator[Generation]:
        """Continue each prompt (chat template already applied), yielding in the order in which they finish.

        Raises:
            LlmcfError: if the engine fails; what was yielded before is good.
        """
        ...


def prompt_seed(prompt: str, seed: int) -> int:
    """A 31-bit seed of its own for each prompt, so that its text does not depend on what else is asked."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{prompt}".encode()).digest()[:4]) >> 1
