"""Generated texts by what they were generated from, so that none is generated twice.

One JSON Lines file for each (model content, engine, sampling, length, seed); a line for each prompt, appended the
moment its text is finished. A kill loses at most the texts in flight; a torn last line is skipped when read.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core import settings, storage


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A text exactly as the model wrote it, without the prompt and its opening words."""

    prompt_hash: str
    text: str
    tokens: int
    finish: str


def prompt_hash(prompt: str) -> str:
    return hashlib.sha256(prompt.encode()).hexdigest()


class TextCache:
    """The texts made under `key`, a JSON-serialisable description of the model and how it was asked."""

    def __init__(self, key: dict[str, Any]) -> None:
        name = storage.digest(key)[:16]
        self.path: Path = settings.home() / "cot-cache" / f"{name}.jsonl"
        self._key = key
        self._entries = _read(self.path)

    def get(self, prompt_hash: str) -> Entry | None:
        return self._entries.get(prompt_hash)

    def add(self, entry: Entry) -> None:
        """Keep `entry` on disk at once."""
        if not self.path.with_suffix(".json").exists():
            storage.write_json(self.path.with_suffix(".json"), self._key)
        line = json.dumps([entry.prompt_hash, entry.text, entry.tokens, entry.finish], ensure_ascii=False)
        with self.path.open("ab", buffering=0) as stream:  # one write: two processes do not mix their lines
            stream.write(f"\n{line}\n".encode())  # begins a line of its own, even after a torn one
        self._entries[entry.prompt_hash] = entry


def _read(path: Path) -> dict[str, Entry]:
    if not path.exists():
        return {}
    entries = (_parse(line) for line in path.read_text(encoding="utf-8", errors="replace").split("\n") if line)
    return {entry.prompt_hash: entry for entry in entries if entry}


def _parse(line: str) -> Entry | None:
    try:
        key, text, tokens, finish = json.loads(line)
    except ValueError:  # torn by a kill
        return None
    return Entry(prompt_hash=key, text=text, tokens=tokens, finish=finish)
