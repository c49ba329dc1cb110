"""What is told of releases, and choosing among them while others do the same."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import pytest

from core.errors import LlmcfError, Unavailable
from core.settings import Workspace
from llmcf.serving import listing, releases
from llmcf.serving.manifest import Release
from tests.synthetic_release import write_release

WS = Workspace("movielens-100k", "shuffled-ties")


def test_a_list_marks_what_cannot_be_read(repository: Path, spoil: Callable[[Release], None]) -> None:
    for _ in range(2):
        write_release(WS)
    spoil(write_release(WS))
    told = listing.listing(WS.dataset).details
    assert (told["releases"], told["live"]) == (["1", "2", "3"], 3)
    marked = [line for line in str(told["text"]).splitlines() if "unreadable" in line]
    assert len(marked) == 1
    assert "live, unreadable: " in marked[0]


def test_the_way_back_waits_for_nobody_who_makes_a_release(repository: Path) -> None:
    for _ in range(2):
        write_release(WS)
    with releases.making(WS.dataset), releases.making("amazon-beauty"), ThreadPoolExecutor(1) as pool:
        assert pool.submit(listing.rollback, WS.dataset).result(timeout=5).details["release"] == 1


def test_who_waits_says_for_what(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_release(WS)
    monkeypatch.setattr(releases, "_PATIENCE_S", 0.05)
    with ThreadPoolExecutor(1) as pool:
        with releases.making(WS.dataset):
            waiting = pool.submit(listing.prune, WS.dataset, 3)
            with pytest.raises(TimeoutError):
                waiting.result(timeout=0.5)
        assert waiting.result(timeout=5).details["removed"] == []
    assert "waiting: another process makes or removes a release of movielens-100k" in capsys.readouterr().err


def test_who_has_no_time_to_wait_is_refused(repository: Path) -> None:
    with releases.locked():
        start = time.monotonic()
        with pytest.raises(Unavailable, match="another process promotes, rolls back or removes a release"):
            releases.locked(0.05).__enter__()
        assert time.monotonic() - start < 1.0
    with releases.locked(0.05):
        pass


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """What a canary was asked of, without Triton, Milvus and an online store."""
    asked: list[Path] = []
    monkeypatch.setattr(listing.held, "check", lambda release: None)
    monkeypatch.setattr(listing.registry, "materialized", lambda ws: {})
    monkeypatch.setattr(listing, "run_triton", lambda models: nullcontext())
    monkeypatch.setattr(listing, "canary", lambda server, models, stages: asked.append(models))
    return asked


def test_onwards_a_release_goes_live_once_it_is_tried_and_is_then_left_as_it_is(
    repository: Path, tried: list[Path]
) -> None:
    write_release(WS)
    made = write_release(WS, live=False)
    assert listing.promote(WS.dataset, 2, onwards=True).details["live"]
    pointer = releases.pointer(WS.dataset)
    assert listing.promote(WS.dataset, 2, onwards=True).details["live"]
    assert releases.pointer(WS.dataset) == pointer
    assert tried == [made.models], "once"


def test_onwards_what_was_made_later_is_not_meant(repository: Path, tried: list[Path]) -> None:
    for number in range(3):
        write_release(WS, live=number == 0)
    assert listing.promote(WS.dataset, 2, onwards=True).details["release"] == 2
    assert releases.require(WS.dataset).number == 2


@pytest.mark.parametrize("during", [False, True], ids=["before", "while it is tried"])
def test_onwards_a_rollback_is_not_undone(
    repository: Path,
    tried: list[Path],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    during: bool,
) -> None:
    def leave(*_: object) -> None:
        releases.promote(releases.read(WS.dataset, 2))
        releases.rollback(WS.dataset)

    for number in range(2):
        write_release(WS, live=number == 0)
    if during:
        monkeypatch.setattr(listing, "canary", leave)
    else:
        leave()
    told = listing.promote(WS.dataset, 2, onwards=True).details
    assert (told["release"], told["live"], releases.require(WS.dataset).number) == (2, False, 1)
    said = "another was chosen since release 2 was live; `llmcf release promote --dataset movielens-100k --release 2`"
    assert said in capsys.readouterr().err
    monkeypatch.setattr(listing, "canary", lambda *_: None)
    assert listing.promote(WS.dataset, 2).details["live"], "whoever names it means it"


def test_onwards_an_earlier_day_stays_aside_untried(
    repository: Path, tried: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    write_release(Workspace(WS.dataset, WS.order, "2026-01-31"))
    write_release(Workspace(WS.dataset, WS.order, "2026-01-30"), live=False)
    told = listing.promote(WS.dataset, 2, onwards=True).details
    assert (told["live"], tried) == (False, [])
    assert "release 2 is of 2026-01-30, and the live release 1 of 2026-01-31" in capsys.readouterr().err


def test_onwards_the_first_that_needs_a_check_stays_aside(repository: Path, tried: list[Path]) -> None:
    write_release(WS, live=False)
    place = repository.parent / "home" / WS.dataset / "gates.toml"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("required = true\n")
    assert not listing.promote(WS.dataset, 1, onwards=True).details["live"]
    with pytest.raises(LlmcfError, match="release 1"):
        listing.promote(WS.dataset, 1)
