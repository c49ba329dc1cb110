"""What is told of releases, and choosing among them while others do the same."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from core.errors import Unavailable
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
