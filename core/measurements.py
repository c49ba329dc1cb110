"""Figures worth keeping: a JSON line a finished measurement in results/<task>/<data set>.jsonl, which reports read."""

import fcntl
import json
import os
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO

from core import settings
from core.progress import say

Line = dict[str, Any]


def file(task: str, dataset: str) -> Path:
    return settings.results() / task / f"{dataset}.jsonl"


def line_id(task: str, dataset: str, number: int) -> str:
    """The name of a line: as an editor would be asked for it."""
    return f"results/{task}/{dataset}.jsonl:{number}"


def read(path: Path) -> list[Line]:
    """The lines in the order they came; none where nothing was measured. One that a killed run tore is told of."""
    found = []
    for number, line in numbered(path):
        if line is None:
            say(f"{path} line {number} is torn and left out; measure it again, or remove the line")
        else:
            found.append(line)
    return found


def numbered(path: Path) -> Iterator[tuple[int, Line | None]]:
    """Every line by its number from 1 on, but for empty ones; None for one that a killed run tore."""
    if not path.exists():
        return
    for number, text in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        try:
            if text.strip():
                yield number, json.loads(text)
        except json.JSONDecodeError:
            yield number, None


def append(
    path: Path,
    line: Line,
    *,
    same: Sequence[str],
    earlier: Mapping[str, Any] = MappingProxyType({}),
    cell: Callable[[Line], Hashable] | None = None,
) -> None:
    """Add a line, unless there is one that equals it in every key of `same`.

    Processes that add to one file do so one after the other; a line that a killed one tore stays a line of its own.

    Args:
        earlier: what lines mean that lack a key, as they were written before there was one.
        cell: of lines. Where it is given, reports show the last of a cell, so a line may come again after another.
    """
    new = json.loads(json.dumps(line))
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b", buffering=0) as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)  # until it is closed
        old = read(path)
        shown = old if cell is None else [one for one in old if cell(one) == cell(new)][-1:]
        if any(all(one.get(key, earlier.get(key)) == new[key] for key in same) for one in shown):
            return
        start = b"" if _ends_with_newline(stream) else b"\n"
        stream.write(start + json.dumps(line, sort_keys=True).encode() + b"\n")
        os.fsync(stream.fileno())


def _ends_with_newline(stream: BinaryIO) -> bool:
    if stream.seek(0, os.SEEK_END) == 0:
        return True
    stream.seek(-1, os.SEEK_END)
    return stream.read(1) == b"\n"
