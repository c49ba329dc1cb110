"""Generated texts by what they were generated from, so that none is generated twice.

A folder for each way to generate (model content, engine, sampling, style, seed), in it JSON Lines files; a line for
each prompt, appended the moment its text is finished. Every writer has a file of its own, for appending to one file
from several machines loses lines. A name that two have written, as only a worker does that had lost its lease, has the
text of the newer file for all readers. A killed worker loses at most the texts in flight; a torn last line is not read.
"""

import json
import os
import secrets
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core import settings, storage
from core.errors import LlmcfError

FOLDER = "cot-cache"


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
        self.folder: Path = settings.home() / FOLDER / storage.digest(key)[:16]
        self._key = key
        self._entries: dict[str, tuple[str, Entry]] = {}  # with the file that each came from
        self._read: dict[str, int] = {}  # bytes of each file
        # After those of older versions, 000.jsonl and so on, and in the order in which writers began:
        self._file = f"t{time.time_ns() // 1_000_000:013}-{secrets.token_hex(4)}.jsonl"
        self.refresh()

    def get(self, prompt_hash: str) -> Entry | None:
        found = self._entries.get(prompt_hash)
        return found[1] if found else None

    def refresh(self) -> None:
        """Read what other writers have added since."""
        for name, size in _files(self.folder):
            if name != self._file and size > self._read.get(name, 0):
                self._read[name] = self._take(name, self._read.get(name, 0))

    def _take(self, name: str, start: int) -> int:
        """Read whole lines of a file from a byte on; how far they go."""
        with (self.folder / name).open("rb") as stream:
            stream.seek(start)
            whole, newline, _ = stream.read().rpartition(b"\n")  # the rest is torn, or on its way
        for line in whole.decode("utf-8", errors="replace").split("\n"):
            if line and (entry := _parse(line)):
                self._know(name, entry)
        return start + len(whole) + len(newline)

    def _know(self, file: str, entry: Entry) -> None:
        """Of two texts of one name all readers take the newer file's, the writers of either too."""
        if self._entries.get(entry.prompt_hash, ("", None))[0] <= file:
            self._entries[entry.prompt_hash] = (file, entry)

    def add(self, entry: Entry) -> None:
        """Keep `entry` on disk at once.

        Raises:
            LlmcfError: if the disk takes no more.
        """
        self.prepare()
        fields = [entry.prompt_hash, list(entry.parts), entry.tokens, list(entry.finish)]
        path = self.file()
        line = f"\n{json.dumps(fields, ensure_ascii=False)}\n".encode()  # of its own, even after a torn one
        try:
            with path.open("ab", buffering=0) as stream:  # closed each time: then others see it on a network too
                whole = stream.write(line) == len(line)
        except OSError as error:
            raise _full(path, error.strerror) from None
        if not whole:
            raise _full(path, "no space left")
        self._know(self._file, entry)

    def prepare(self) -> None:
        """Make the folder, which says what it is a cache of."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if not (self.folder / "key.json").exists():
            storage.write_json(self.folder / "key.json", self._key)

    def file(self) -> Path:
        """Where this writer, and no other, keeps its texts."""
        return self.folder / self._file


def _full(path: Path, reason: str | None) -> LlmcfError:
    return LlmcfError(
        f"{path} takes no more ({reason}); finished texts are kept, make room and run the same command again"
    )


def _files(folder: Path) -> Iterator[tuple[str, int]]:
    """The files of texts and their sizes."""
    if folder.is_dir():
        with os.scandir(folder) as found:
            yield from ((one.name, one.stat().st_size) for one in found if one.name.endswith(".jsonl"))


def _parse(line: str) -> Entry | None:
    try:
        name, parts, tokens, finish = json.loads(line)
    except ValueError:  # torn by a kill
        return None
    return Entry(prompt_hash=name, parts=tuple(parts), tokens=tokens, finish=tuple(finish))
