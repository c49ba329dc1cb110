"""`llmcf workspace pending`: days that something upstream was made of and nothing downstream, by their manifests.

Airflow may merge or lose the event by which one DAG starts the next. The manifests in the workspaces do not lie, so the
DAG `catch_up` asks here and sends such events again.
"""

import time
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

from core.result import Result
from core.settings import LATEST, Workspace
from core.steps import STAMP
from llmcf.serving import gone, releases
from llmcf.workspaces import days_of

_HOUR = 3600.0


def pending(dataset: str, order: str, *, newest: int, hours: float) -> Result:
    """The days of the newest few whose next stage has not been made, by the stage that was made last.

    Days up to the live release's are left alone: what is made of them would not go live.

    Args:
        hours: a stage younger than that may still be on its way to the next.
    """
    start = time.monotonic()
    live = releases.live(dataset)
    after = live.as_of if live and live.order == order else ""
    found: dict[str, list[str]] = {stage: [] for stage, _, _ in _STAGES}
    places = [ws for ws in days_of(dataset, order) if ws.as_of != LATEST and (after == LATEST or ws.as_of > after)]
    for ws in sorted(places, key=lambda ws: date.fromisoformat(ws.as_of))[-newest:]:
        for stage in _waiting(ws, hours):
            found[stage].append(ws.as_of)
    lines = [f"  {stage:<10} {', '.join(days)}" for stage, days in found.items() if days]
    return Result(
        verb="workspace pending",
        seconds=time.monotonic() - start,
        details={"after": found, "text": "\n".join(lines) or "  there is none"},
    )


def _waiting(ws: Workspace, hours: float) -> Iterator[str]:
    for stage, made, followed in _STAGES:
        stamps = made(ws)
        if stamps and not followed(ws) and time.time() - max(map(_written, stamps)) > hours * _HOUR:
            yield stage


def _written(path: Path) -> float:
    return path.stat().st_mtime


def _stamps(*parts: str) -> Callable[[Workspace], list[Path]]:
    return lambda ws: sorted(ws.root.glob("/".join([*parts, STAMP])))


def _released(ws: Workspace) -> bool:
    """Whether it has a release, or had one that was removed: one that failed its check is not made again."""
    return any(release.workspace == ws for release in (*releases.of(ws.dataset), *gone.of(ws.dataset)))


_STAGES = (  # what was made, and what is made of it
    ("features", _stamps("training"), _stamps("cot", "index")),
    ("cot_index", _stamps("cot", "index"), lambda ws: _stamps("ranking", "*")(ws) and _stamps("retrieval", "*")(ws)),
    ("ranker", _stamps("ranking", "*"), _released),
    ("retriever", _stamps("retrieval", "*"), _released),
)
