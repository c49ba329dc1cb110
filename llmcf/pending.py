"""`llmcf workspace pending`: days that something upstream was made of and nothing downstream, by their manifests.

Airflow may merge or lose the event by which one DAG starts the next. The manifests in the workspaces do not lie, so the
DAG `catch_up` asks here and sends such events again. A stage counts as made where it is there, also of older inputs.
"""

import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import NamedTuple

from core.result import Result
from core.settings import LATEST, Workspace
from core.steps import STAMP
from llmcf.feature_store import registry
from llmcf.serving import gone, releases
from llmcf.serving.assemble import Choice
from llmcf.serving.export import check_choices, run_folder
from llmcf.workspaces import days_of

STAGES = ("features", "cot_index", "ranker", "retriever")
_HOUR = 3600.0


class _Stage(NamedTuple):
    """A stage of a day: the files that say when it was made, none if it was not, and whether the next one was."""

    name: str
    stamps: list[Path]
    followed: bool


def pending(dataset: str, order: str, ranker: Choice, tower: Choice, *, newest: int, hours: float) -> Result:
    """The days of the newest few whose next stage has not been made, by the stage that was made last.

    Days up to the live release's are left alone: what is made of them would not go live.

    Args:
        ranker, tower: the runs that are released; others, such as their plain twins, do not count.
        hours: a stage younger than that may still be on its way to the next.

    Raises:
        UsageError: for a run that no training makes.
    """
    check_choices(ranker, tower)
    start = time.monotonic()
    live = releases.live(dataset)
    after = live.as_of if live and live.order == order else ""
    found: dict[str, list[str]] = {stage: [] for stage in STAGES}
    places = [ws for ws in days_of(dataset, order) if ws.as_of != LATEST and (after == LATEST or ws.as_of > after)]
    for ws in sorted(places, key=lambda ws: date.fromisoformat(ws.as_of))[-newest:]:
        for stage in _stages(ws, ranker, tower):
            if _waits(stage, hours):
                found[stage.name].append(ws.as_of)
    lines = [f"  {stage:<10} {', '.join(days)}" for stage, days in found.items() if days]
    return Result(
        verb="workspace pending",
        seconds=time.monotonic() - start,
        details={"after": found, "text": "\n".join(lines) or "  there is none"},
    )


def _waits(stage: _Stage, hours: float) -> bool:
    if not stage.stamps or stage.followed:
        return False
    return time.time() - max(path.stat().st_mtime for path in stage.stamps) > hours * _HOUR


def _stages(ws: Workspace, ranker: Choice, tower: Choice) -> Iterator[_Stage]:
    """In the order in which a day's DAGs make them, each as its asset is renewed: features once they are online."""
    features = _there(ws.path("training", STAMP), ws.path("feast", registry.MATERIALIZED))
    index = _there(ws.path("cot", "index", STAMP))
    ranking, retrieval = (_there(run_folder(ws, *one) / STAMP) for one in (("ranker", ranker), ("user_vector", tower)))
    released = _released(ws)
    yield _Stage("features", features, bool(index))
    yield _Stage("cot_index", index, bool(ranking and retrieval))
    yield _Stage("ranker", ranking, released)
    yield _Stage("retriever", retrieval, released)


def _there(*paths: Path) -> list[Path]:
    """All of them, or none if one is missing."""
    return list(paths) if all(path.is_file() for path in paths) else []


def _released(ws: Workspace) -> bool:
    """Whether it has a release, or had one that was removed: one that failed its check is not made again."""
    return any(release.workspace == ws for release in (*releases.of(ws.dataset), *gone.of(ws.dataset)))
