"""Days that stopped half-way are found by their manifests."""

import os
import time
from pathlib import Path
from types import ModuleType

import pytest

from core.settings import Workspace
from core.steps import STAMP
from llmcf import pending
from llmcf.serving import gone, releases

DAYS = [f"2026-01-0{number}" for number in range(1, 6)]
STAGES = {"features": ["training"], "cot_index": ["cot/index"], "models": ["ranking/one", "retrieval/one"]}


def made(ws: Workspace, *stages: str, hours_ago: float = 48) -> None:
    for stage in stages:
        for folder in STAGES[stage]:
            stamp = ws.root / folder / STAMP
            stamp.parent.mkdir(parents=True, exist_ok=True)
            stamp.write_text("{}")
            os.utime(stamp, (then := time.time() - hours_ago * 3600, then))


@pytest.fixture
def days(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Workspace]:
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path))
    monkeypatch.setattr(releases, "live", lambda name: None)
    monkeypatch.setattr(releases, "of", lambda name: [])
    monkeypatch.setattr(gone, "of", lambda name: [])
    return [Workspace("movielens-100k", "published", day) for day in DAYS]


def found(**changes: float) -> dict[str, list[str]]:
    options = {"newest": 7, "hours": 24} | changes
    return pending.pending("movielens-100k", "published", **options).details["after"]  # pyright: ignore


def test_a_day_waits_after_the_stage_that_was_made_last(days: list[Workspace]) -> None:
    made(days[0], "features")
    made(days[1], "features", "cot_index")
    made(days[2], "features", "cot_index", "models")
    nothing: list[str] = []
    assert found() == {"features": [DAYS[0]], "cot_index": [DAYS[1]], "ranker": [DAYS[2]], "retriever": [DAYS[2]]}
    assert found(hours=72) == dict.fromkeys(("features", "cot_index", "ranker", "retriever"), nothing)


def test_one_trained_model_of_two_waits_for_the_other(days: list[Workspace]) -> None:
    made(days[0], "features", "cot_index", "models")
    (days[0].root / "retrieval/one" / STAMP).unlink()
    assert found()["cot_index"] == [DAYS[0]]


def test_only_the_newest_days_are_looked_at(days: list[Workspace]) -> None:
    for ws in days:
        made(ws, "features")
    assert found(newest=2)["features"] == DAYS[-2:]


def test_days_up_to_the_live_releases_are_left_alone(days: list[Workspace], monkeypatch: pytest.MonkeyPatch) -> None:
    for ws in days:
        made(ws, "features")

    class Live:
        order, as_of = "published", DAYS[2]

    monkeypatch.setattr(releases, "live", lambda name: Live)
    assert found()["features"] == DAYS[3:]


@pytest.mark.parametrize("where", [releases, gone], ids=["there", "removed"])
def test_a_released_day_is_done(days: list[Workspace], monkeypatch: pytest.MonkeyPatch, where: ModuleType) -> None:
    made(days[0], "features", "cot_index", "models")

    class Of:
        workspace = days[0]

    monkeypatch.setattr(where, "of", lambda name: [Of])
    assert not any(found().values())
