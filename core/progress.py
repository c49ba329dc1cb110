"""Progress and messages on stderr: a bar on a terminal, plain lines elsewhere. stdout is for results."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any, Self, TextIO, TypeVar

T = TypeVar("T")
_LINE_EVERY_S, _LINE_AFTER_S = 30.0, 5.0  # at the latest, and at the earliest where another tenth is done


def say(message: str) -> None:
    """Print one line to stderr."""
    print(message, file=sys.stderr, flush=True)


class Progress:
    """How far some work is; `what` names it, e.g. "epoch 1 batches". Use it in a with statement."""

    def __init__(self, *, total: int, what: str) -> None:
        self._total, self._what, self._done = total, what, 0
        self._start = self._last = time.monotonic()
        self._tenth = 0  # that the last line told
        self._bar: Any = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import Progress as Bar

            self._bar = Bar(console=Console(stderr=True), transient=True)
            self._bar.start()
            self._task = self._bar.add_task(self._what, total=self._total)
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()

    def advance(self) -> None:
        """One more is done."""
        self._done += 1
        if self._bar:
            self._bar.update(self._task, completed=self._done)
            return
        now, tenth = time.monotonic(), 10 * self._done // self._total
        if now - self._last >= (_LINE_AFTER_S if tenth > self._tenth else _LINE_EVERY_S):
            spent = now - self._start
            left = spent * (self._total - self._done) / self._done
            say(f"{self._what}: {self._done:,} of {self._total:,} after {spent:.0f} s, about {left:.0f} s left")
            self._last, self._tenth = now, tenth


def track(items: Iterable[T], *, total: int, what: str) -> Iterator[T]:
    """Yield `items` while showing how far it is."""
    with Progress(total=total, what=what) as progress:
        for item in items:
            yield item
            progress.advance()


class Named:
    """A stream whose lines begin with `name` and a colon, for several processes that write to one.

    It is never a terminal, as their bars would overwrite one another.
    """

    def __init__(self, stream: TextIO, name: str) -> None:
        self._stream, self._name, self._fresh = stream, name, True

    def write(self, text: str) -> int:
        for part in text.splitlines(keepends=True):
            self._stream.write(f"{self._name}: {part}" if self._fresh else part)
            self._fresh = part.endswith("\n")
        return len(text)

    def flush(self) -> None:
        self._stream.flush()

    def isatty(self) -> bool:
        return False
