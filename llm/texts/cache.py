"""Generated texts by what they were generated from, so that none is generated twice, and the queue of those to come.

A folder for each way to generate (model content, engine, sampling, style, seed), in it a JSON Lines file for each
shard of the prompts' hashes; a line for each prompt, appended the moment its text is finished. A shard has one writer
at a time, who holds its lock: any number of workers, on all machines that share LLMCF_HOME, take what is left shard by
shard. A killed worker loses its locks and at most the texts in flight; a torn last line is skipped when read.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from core import settings, storage
from core.errors import LlmcfError

SHARDS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What the model wrote for a prompt, part by part, without the openings; `finish` says how each part ended."""

    prompt_hash: str
    parts: tuple[str, ...]
    tokens: int
    finish: tuple[str, ...]


def prompt_hash(prompt: str, openings: Sequence[str] = (), candidate: int = 0) -> str:
    """The name of a text: what was asked, how its parts begin, and which of several tries it is."""
    return storage.digest(prompt, list(openings), candidate)[:32]


class TextCache:
    """The texts made under `key`, a JSON-serialisable description of the model and how it was asked."""

    def __init__(self, key: dict[str, Any]) -> None:
        self.folder: Path = settings.home() / "cot-cache" / storage.digest(key)[:16]
        self._key = key
        self._entries: dict[str, Entry] = {}
        self._sizes: dict[int, int] = {}
        for shard in range(SHARDS):
            self.refresh(shard)

    def get(self, prompt_hash: str) -> Entry | None:
        return self._entries.get(prompt_hash)

    def refresh(self, shard: int) -> None:
        """Read what other workers have written since."""
        path = self.path(shard)
        size = path.stat().st_size if path.exists() else 0
        if size != self._sizes.get(shard, 0):
            self._entries |= _read(path)
            self._sizes[shard] = size

    def add(self, entry: Entry) -> None:
        """Keep `entry` on disk at once; the caller holds its shard.

        Raises:
            LlmcfError: if the disk takes no more.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if not (self.folder / "key.json").exists():
            storage.write_json(self.folder / "key.json", self._key)
        fields = [entry.prompt_hash, list(entry.parts), entry.tokens, list(entry.finish)]
        path = self.path(shard_of(entry.prompt_hash))
        line = f"\n{json.dumps(fields, ensure_ascii=False)}\n".encode()  # of its own, even after a torn one
        try:
            with path.open("ab", buffering=0) as stream:
                whole = stream.write(line) == len(line)
        except OSError as error:
            raise _full(path, error.strerror) from None
        if not whole:
            raise _full(path, "no space left")
        self._entries[entry.prompt_hash] = entry

    def path(self, shard: int) -> Path:
        return self.folder / f"{shard:03}.jsonl"

    def lock(self, shard: int) -> FileLock:
        self.folder.mkdir(parents=True, exist_ok=True)
        return FileLock(self.folder / f".{shard:03}.lock", timeout=0)


class WorkQueue:
    """The prompts that have no text yet, handed out shard by shard to whoever holds the shard.

    Args:
        start: the shard to begin with; workers that begin at different ones meet late.
    """

    def __init__(self, cache: TextCache, hashes: Iterable[str], start: int = 0) -> None:
        self._cache = cache
        self._left: dict[int, list[str]] = {}
        for name in dict.fromkeys(hashes):
            self._left.setdefault(shard_of(name), []).append(name)
        self._order = sorted(self._left, key=lambda shard: (shard - start) % SHARDS)
        self._held: dict[int, tuple[FileLock, set[str]]] = {}

    def claim(self) -> list[str] | None:
        """The missing prompts of a shard that is now ours, or None if every shard left is another's (or done)."""
        for shard in [shard for shard in self._order if shard not in self._held]:
            lock = self._cache.lock(shard)
            try:
                lock.acquire()
            except Timeout:
                continue
            self._cache.refresh(shard)
            if missing := [name for name in self._left[shard] if self._cache.get(name) is None]:
                self._held[shard] = (lock, set(missing))
                return missing
            lock.release()
            self._order.remove(shard)
        return None

    def done(self, name: str) -> None:
        """A claimed prompt has its text; with its last one the shard is let go."""
        shard = shard_of(name)
        lock, missing = self._held[shard]
        missing.discard(name)
        if not missing:
            del self._held[shard]
            self._order.remove(shard)
            lock.release()

    @property
    def others(self) -> bool:
        """Whether shards are left that another worker holds."""
        return len(self._order) > len(self._held)

    def close(self) -> None:
        for lock, _ in self._held.values():
            lock.release()
        self._held.clear()


def _full(path: Path, reason: str | None) -> LlmcfError:
    return LlmcfError(
        f"{path} takes no more ({reason}); finished texts are kept, make room and run the same command again"
    )


def shard_of(prompt_hash: str) -> int:
    return int(prompt_hash[:4], 16) % SHARDS


def _read(path: Path) -> dict[str, Entry]:
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    entries = (_parse(line) for line in lines if line)
    return {entry.prompt_hash: entry for entry in entries if entry}


def _parse(line: str) -> Entry | None:
    try:
        name, parts, tokens, finish = json.loads(line)
    except ValueError:  # torn by a kill
        return None
    return Entry(prompt_hash=name, parts=tuple(parts), tokens=tokens, finish=tuple(finish))
