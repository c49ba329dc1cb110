"""Figures worth keeping: a JSON line a finished measurement in results/<task>/<data set>.jsonl, which reports read."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from core import settings

Line = dict[str, Any]


def file(task: str, dataset: str) -> Path:
    return settings.results() / task / f"{dataset}.jsonl"


def read(path: Path) -> list[Line]:
    """The lines in the order they came; none where nothing was measured."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def append(path: Path, line: Line, *, same: Sequence[str]) -> None:
    """Add a line, unless there is one that equals it in every key of `same`."""
    new = json.loads(json.dumps(line))
    if any(all(old.get(key) == new[key] for key in same) for old in read(path)):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(line, sort_keys=True) + "\n")
