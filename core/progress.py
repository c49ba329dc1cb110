"""Progress and messages on stderr: a bar on a terminal, plain lines elsewhere. stdout is for results."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")
_LINE_EVERY_S = 15.0


def say(message: str) -> None:
    """Print one line to stderr."""
    print(message, file=sys.stderr, flush=True)


def track(items: Iterable[T], *, total: int, what: str) -> Iterator[T]:
    """Yield `items` while showing how far it is; `what` names the work, e.g. "epoch 1 batches"."""
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import track as rich_track

        yield from rich_track(items, total=total, description=what, console=Console(stderr=True), transient=True)
        return
    start = last = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - last >= _LINE_EVERY_S:
            say(f"{what}: {done}/{total} after {now - start:.0f} s")
            last = now
