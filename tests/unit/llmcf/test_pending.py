"""Days that stopped half-way are found by their manifests."""

import os
import time
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from core.errors import UsageError
from core.settings import Workspace
from core.steps import STAMP
from llmcf import pending
from llmcf.serving import gone, releases
from llmcf.serving.assemble import Choice

DAYS = [f"2026-01-0{number}" for number in range(1, 6)]
RANKER = Choice(backbone="deepfm", framework="llm-cf", recipe="best", seed=1)
TOWER = replace(RANKER, backbone="sasrec")
STAGES = {
    "features": [f"training/{STAMP}", "feast/materialized.json"],
    "cot_index": [f"cot/index/{STAMP}"],
    "models": [f"ranking/deepfm-llm-cf-best-s1/{STAMP}", f"retrieval/sasrec-llm-cf-best-s1/{STAMP}"],
    "twins": [f"ranking/deepfm-none-best-s1/{STAMP}", f"retrieval/sasrec-none-best-s1/{STAMP}"],
}


def made(ws: Workspace, *stages: str, hours_ago: float = 48) -> None:
    for stage in stages:
        for name in STAGES[stage]:
            stamp = ws.root / name
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
    return pending.pending("movielens-100k", "published", RANKER, TOWER, **options).details["after"]  # pyright: ignore


def test_a_day_waits_after_the_stage_that_was_made_last(days: list[Workspace]) -> None:
    made(days[0], "features")
    made(days[1], "features", "cot_index")
    made(days[2], "features", "cot_index", "models")
    nothing: list[str] = []
    assert found() == {"features": [DAYS[0]], "cot_index": [DAYS[1]], "ranker": [DAYS[2]], "retriever": [DAYS[2]]}
    assert found(hours=72) == dict.fromkeys(("features", "cot_index", "ranker", "retriever"), nothing)


def test_one_trained_model_of_two_waits_for_the_other(days: list[Workspace]) -> None:
    made(days[0], "features", "cot_index", "models")
    (days[0].root / STAGES["models"][1]).unlink()
    assert found()["cot_index"] == [DAYS[0]]


def test_models_that_are_not_released_are_none(days: list[Workspace]) -> None:
    """Their plain twins are trained first, and the asset is renewed by the others."""
    made(days[0], "features", "cot_index", "twins")
    assert {stage: waiting for stage, waiting in found().items() if waiting} == {"cot_index": [DAYS[0]]}


@pytest.mark.parametrize("missing", STAGES["features"])
def test_features_are_made_once_they_are_online(days: list[Workspace], missing: str) -> None:
    """The asset is renewed by `features materialize`, the last of its DAG."""
    made(days[0], "features")
    (days[0].root / missing).unlink()
    assert not any(found().values())


def test_a_run_that_no_training_makes_is_refused(days: list[Workspace]) -> None:
    with pytest.raises(UsageError, match="unknown ranker 'deepmf'"):
        pending.pending("movielens-100k", "published", replace(RANKER, backbone="deepmf"), TOWER, newest=7, hours=24)


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
