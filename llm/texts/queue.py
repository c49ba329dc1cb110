"""Which missing texts a worker writes: what it leases of the queue that all workers share, or its part of a whole.

The queue is the cache: what has no text there is left to do. It is shared shard by shard of the prompts' hashes. A
shard has one writer at a time, who holds its lease; the rest of a worker that dies, or sleeps too long, goes to the
others. A part `i/N` is known without asking anybody, needs no lock of any kind, and waits for nobody.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from core import settings
from core.errors import UsageError
from core.leases import Lease
from llm.texts.cache import TextCache

SHARDS = 64
OFF = "off"
_FORM = re.compile(r"(-?\d{1,9})/(\d{1,9})")


@dataclass(frozen=True, slots=True)
class Part:
    """Part `index` of `count`, from 0 on, by the texts' names: parts are disjoint and complete for any count."""

    index: int
    count: int

    def has(self, name: str) -> bool:
        return int(name[:12], 16) % self.count == self.index

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


def part(option: str | None) -> Part | None:
    """The part that this process writes: of the option, else of what the scheduler says; None for the shared queue.

    `off` asks for the shared queue whatever the scheduler says, and so does the index -1, which Airflow gives to a task
    that is not mapped.

    Raises:
        UsageError: for what is no part, naming who said it.
    """
    told = (option, "--shard") if option else settings.shard()
    if told is None or told[0] == OFF:
        return None
    value, source = told
    form = _FORM.fullmatch(value)
    index, count = (int(form[1]), int(form[2])) if form else (0, 0)
    if form and index == -1 and count:
        return None
    if not 0 <= index < count:
        raise UsageError(f"{source} {value!r} is no part i/N with i from 0 to N-1, such as 0/4, nor {OFF}")
    return Part(index, count)


class Queue(Protocol):
    """Hands out the prompts that have no text yet."""

    def claim(self) -> list[str] | None:
        """Missing prompts that are now ours, or None if all that is left is another's (or done)."""
        ...

    def mine(self, name: str) -> bool:
        """Whether a claimed prompt is still ours, and has no text of ours yet: asked before it is written."""
        ...

    def done(self, name: str) -> None:
        """A prompt that is ours has its text."""
        ...

    @property
    def others(self) -> bool:
        """Whether more is left, which another worker holds."""
        ...

    def close(self) -> None: ...


class SharedQueue:
    """The queue of all workers, by leases.

    Args:
        start: the shard to begin with; workers that begin at different ones meet late.
    """

    def __init__(self, cache: TextCache, hashes: Iterable[str], start: int = 0) -> None:
        self._cache = cache
        self._left: dict[int, list[str]] = {}
        for name in dict.fromkeys(hashes):
            self._left.setdefault(shard_of(name), []).append(name)
        self._order = sorted(self._left, key=lambda shard: (shard - start) % SHARDS)
        # Kept between tries, since a lease must be seen unchanged for a while before it may be taken over:
        self._leases: dict[int, Lease] = {}
        self._held: dict[int, set[str]] = {}
        cache.folder.mkdir(parents=True, exist_ok=True)

    def claim(self) -> list[str] | None:
        """See `Queue.claim`: those of a shard, whose lease is held until all have their text."""
        self._cache.refresh()
        for shard in [shard for shard in self._order if shard not in self._held]:
            if not self._missing(shard):
                self._order.remove(shard)
                continue
            lease = self._leases.setdefault(shard, Lease(lease_path(self._cache.folder, shard)))
            if not lease.take():
                continue
            self._cache.refresh()  # with what its last holder wrote
            if missing := self._missing(shard):
                self._held[shard] = set(missing)
                return missing
            lease.release()
            self._order.remove(shard)
        return None

    def _missing(self, shard: int) -> list[str]:
        return [name for name in self._left[shard] if self._cache.get(name) is None]

    def mine(self, name: str) -> bool:
        """See `Queue.mine`; a shard whose lease was lost is another's, and may be claimed anew."""
        shard = shard_of(name)
        if name not in self._held.get(shard, ()):
            return False
        if not self._leases[shard].held:
            self._let_go(shard)
            return False
        return True

    def done(self, name: str) -> None:
        """See `Queue.done`; with its last text the shard is let go."""
        shard = shard_of(name)
        self._held[shard].discard(name)
        if not self._held[shard]:
            self._order.remove(shard)
            self._let_go(shard)

    @property
    def others(self) -> bool:
        """See `Queue.others`."""
        return len(self._order) > len(self._held)

    def close(self) -> None:
        for shard in list(self._held):
            self._let_go(shard)

    def _let_go(self, shard: int) -> None:
        del self._held[shard]
        self._leases[shard].release()


class OwnPart:
    """A part of the whole, which nobody else has."""

    def __init__(self, hashes: Iterable[str], part: Part) -> None:
        self._unclaimed = [name for name in dict.fromkeys(hashes) if part.has(name)]
        self._left: set[str] = set()
        self.others = False

    def claim(self) -> list[str] | None:
        """See `Queue.claim`: all at once."""
        claimed, self._unclaimed = self._unclaimed, []
        self._left.update(claimed)
        return claimed or None

    def mine(self, name: str) -> bool:
        return name in self._left

    def done(self, name: str) -> None:
        self._left.discard(name)

    def close(self) -> None: ...


def shard_of(prompt_hash: str) -> int:
    return int(prompt_hash[:4], 16) % SHARDS


def lease_path(cache: Path, shard: int) -> Path:
    """Where the lease on a shard of the queue lies in the folder of a cache."""
    return cache / f".{shard:03}.lease"
