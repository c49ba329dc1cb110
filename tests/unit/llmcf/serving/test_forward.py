"""Whichever way a day's release goes live, its store has what was pushed since it was materialized; Feast is played."""

import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from core.data import features, vocabulary
from core.data.prepare import prepare
from core.errors import LlmcfError, Missing
from core.settings import Workspace
from llmcf.feature_store import filled, jobs, registry
from llmcf.serving import forward, listing, releases
from llmcf.serving.manifest import Release
from tests.shop import START, Shop
from tests.synthetic_release import write_release

FIRST = int(START.timestamp())
BEFORE, DAY = (Workspace("shop", "published", day) for day in ("2025-03-10", "2025-03-11"))
WAYS: dict[str, Callable[[Release], object]] = {
    "release promote": lambda release: listing.promote("shop", release.number),
    "release promote --onwards": lambda release: listing.promote("shop", release.number, onwards=True),
    "export": forward.promote,
}


class Online:
    """In place of Feast's worker: what was brought online of users, by folder."""

    def __init__(self) -> None:
        self.states: dict[tuple[Path, int], list[int]] = {}
        self.jobs: list[str] = []
        self.meanwhile: Callable[[], None] = lambda: None

    def __call__(self, ws: Workspace, *job: str, folder: Path | None = None) -> None:
        self.jobs.append(job[0])
        if job[0] == "push" and job[1] == "interactions":
            for row in pq.read_table(job[2]).to_pylist():
                self.states[folder or ws.path("feast"), row["user"]] = [item for item in row["history"] if item]

    def history(self, ws: Workspace, user: str) -> list[str]:
        row, names = vocabulary.rows("shop", "users")[user], vocabulary.load("shop", "items")["raw_id"].to_pylist()
        return [names[item - 2] for item in self.states.get((ws.path("feast"), row), [])]


@pytest.fixture
def online(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Online:
    """Both days materialized, the earlier one live, the later one released."""
    found = Online()
    monkeypatch.setattr(registry, "run", found)
    monkeypatch.setattr(listing.held, "check", lambda release: None)
    monkeypatch.setattr(listing, "run_triton", lambda models: nullcontext())
    monkeypatch.setattr(listing, "canary", lambda *_: found.meanwhile())
    Shop().write(tmp_path / "export")
    for ws in (BEFORE, DAY):
        prepare(ws, source=tmp_path / "export", seed=1)
        features.build(ws)
        jobs.apply(ws)
        jobs.materialize(ws)
        write_release(ws, live=ws == BEFORE)
    found.jobs.clear()
    return found


def push(item: str, day: float) -> None:
    line = json.dumps({"user": "p0", "item": item, "timestamp": FIRST + int(day * 86_400)})
    live = releases.live("shop")
    assert live is not None
    jobs.push(live.workspace, [line], now=FIRST + 100 * 86_400)


@pytest.mark.parametrize("way", WAYS)
def test_a_push_after_materialize_is_in_the_history_that_requests_read(online: Online, way: str) -> None:
    push("g8", 9.5)
    push("g9", 10.2)  # on the day itself, hours after it was materialized
    assert online.history(DAY, "p0") == []
    WAYS[way](releases.read("shop", 2))
    assert releases.require("shop").workspace == DAY
    assert online.history(DAY, "p0")[-2:] == ["g8", "g9"]
    assert not filled.behind(DAY)
    online.jobs.clear()
    WAYS[way](releases.read("shop", 2))
    jobs.materialize(DAY)
    assert online.jobs == [], "once"


def test_what_is_pushed_while_it_is_tried_is_there_too(online: Online) -> None:
    online.meanwhile = lambda: push("g8", 10.2)
    listing.promote("shop", 2)
    assert online.history(DAY, "p0")[-1] == "g8"


def test_where_nothing_was_pushed_nothing_is_asked_of_feast(online: Online) -> None:
    listing.promote("shop", 2)
    assert online.jobs == []


def test_features_that_are_not_applied_keep_it_from_going_live(online: Online) -> None:
    push("g8", 10.2)
    DAY.path("feast", registry.APPLIED).unlink()
    with pytest.raises(Missing, match="llmcf features apply"):
        listing.promote("shop", 2)
    assert releases.require("shop").workspace == BEFORE


def test_a_store_that_holds_something_else_is_filled_with_all_that_counts(online: Online) -> None:
    """Its account and the ledger may disagree, as after a copy of a home."""
    push("g8", 9.5)
    path = DAY.path("feast", registry.MATERIALIZED)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"events": 1, "ledger": "another"}))
    jobs.catch_up(DAY)
    assert online.history(DAY, "p0")[-1] == "g8"


def test_an_earlier_day_has_nothing_to_catch_up_with(online: Online) -> None:
    listing.promote("shop", 2)
    push("g8", 10.2)
    assert not filled.behind(BEFORE), "what a later day took is none of its business"


def test_a_failure_leaves_what_is_live(online: Online, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise LlmcfError("the store is gone")

    push("g8", 10.2)
    monkeypatch.setattr(registry, "run", fail)
    with pytest.raises(LlmcfError, match="the store is gone"):
        forward.promote(releases.read("shop", 2))
    assert releases.require("shop").workspace == BEFORE
