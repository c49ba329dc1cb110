"""What was found, a JSON line a day, so that it can be plotted over days."""

import json
from typing import Any

from filelock import FileLock

from core import storage
from core.progress import say
from core.result import plain
from core.settings import Workspace
from llmcf.monitoring import places

Line = dict[str, Any]


def read(ws: Workspace) -> list[Line]:
    """The days that were monitored of the workspace's data set and order, by the end of their data."""
    path = places.history(ws)
    if not path.exists():
        return []
    found = []
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            found.append(json.loads(text))
        except json.JSONDecodeError:
            say(f"{path} line {number} is no JSON and is left out")
    return sorted(found, key=lambda line: line["end"])


def of(lines: list[Line], as_of: str) -> Line | None:
    return next((line for line in lines if line["as_of"] == as_of), None)


def keep(ws: Workspace, line: Line) -> None:
    """Keep the line of a day in place of an earlier one of that day."""
    path = places.history(ws)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")):
        lines = [one for one in read(ws) if one["as_of"] != line["as_of"]]
        lines = sorted([*lines, plain(line)], key=lambda one: one["end"])
        with storage.atomic_path(path) as beside:
            text = "".join(json.dumps(one, sort_keys=True, ensure_ascii=False) + "\n" for one in lines)
            beside.write_text(text, encoding="utf-8")


def series(lines: list[Line], name: str) -> dict[str, list[tuple[str, float]]]:
    """A figure over the days, by what it is of: (as-of, value)."""
    found: dict[str, list[tuple[str, float]]] = {}
    for line in lines:
        for figure in line["figures"]:
            if figure["name"] == name and figure["value"] is not None:
                found.setdefault(figure.get("of", ""), []).append((line["as_of"], figure["value"]))
    return found
