"""A day whose release was removed: made anew from its manifest by real trainings, tried by Triton, and measured."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from core.settings import Workspace
from llmcf.daily import backfill, partitions
from llmcf.daily.choosing import date_of
from llmcf.serving import gone, releases
from tests.official_files import START, prepared
from tests.synthetic_release import write_release

pytestmark = pytest.mark.integration
DATASET, ORDER = "movielens-100k", "shuffled-ties"
KNOWN, DAY = (str(date_of(START // 86_400 + number)) for number in (60, 61))


@pytest.fixture
def removed(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    """The day of a release of which the manifest is left."""
    for name in ("HOME", "TRITON_MODELS", "RUNS", "RESULTS"):
        monkeypatch.setenv(f"LLMCF_{name}", str(tmp_path / name.lower()))
    prepared(Workspace(DATASET, ORDER), source)
    ws = prepared(Workspace(DATASET, ORDER, KNOWN), source)
    one = write_release(ws, seed=1, live=False)
    kinds = {"ranker": "deepfm", "user_vector": "youtubednn"}
    stages = {
        model: replace(stage, backbone=kinds[model], framework="none", recipe="paper")
        for model, stage in one.stages.items()
    }
    replace(one, stages=stages).write(one.folder)
    gone.remember(DATASET, one.number)
    releases.storage.remove(one.folder)
    yield ws


def test_it_is_missing_until_it_is_asked_for(removed: Workspace) -> None:
    told = backfill.backfill(DATASET, ORDER, first=DAY, last=DAY).details
    assert told["missing"] == {DAY: f"release 1, of days before {KNOWN}, was removed; --rebuild makes it anew"}
    told = backfill.backfill(DATASET, ORDER, first=DAY, last=DAY, rebuild=True).details
    assert (told["scored"], told["missing"], told["rebuilt"]) == ({DAY: 2}, {}, {"1": 2})
    assert releases.pointer(DATASET) is None, "it is not live"
    made = releases.read(DATASET, 2)
    assert (made.workspace, made.stages["ranker"].recipe, made.stages["ranker"].seed) == (removed, "paper", 1)
    figures = partitions.read(DATASET, ORDER).to_pylist()
    assert {(one["release"], one["missing"]) for one in figures} == {(2, None)}
    again = backfill.backfill(DATASET, ORDER, first=DAY, last=DAY, rebuild=True)
    assert (again.details["current"], again.skipped) == ({DAY: 2}, True)
