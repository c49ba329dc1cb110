"""Who looks after a service goes on where a file cannot be read or the disk is full; host and workers are played."""

from collections.abc import Callable
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any, cast

import pytest

from core import storage
from core.errors import LlmcfError
from core.settings import Workspace
from llmcf.service import state
from llmcf.service.keeper import Keeper
from llmcf.service.trials import Trials
from llmcf.serving import arms, releases
from llmcf.serving.triton_server import Server
from tests.synthetic_release import write_release

WS = Workspace("movielens-100k", "shuffled-ties")
ARMS = 'experiment = "x"\n[arms.a]\nrelease = 2\npercent = 10\n'


class Host:
    """One that loads whatever it is asked to."""

    def __init__(self) -> None:
        self.server, self.ended = Server(1, 1, 2, 3, Path("log")), False
        self.releases = [1]

    def add(self, release: Any) -> None:
        self.releases.append(release.number)

    def check(self, number: int) -> None:
        assert number in self.releases

    def remove(self, number: int) -> None:
        self.releases.remove(number)


class Disk:
    """In place of `storage.write_json`; it may be full."""

    def __init__(self, write: Callable[[Path, Any], None]) -> None:
        self.full, self._write = False, write

    def __call__(self, path: Path, value: Any) -> None:
        if self.full:
            raise LlmcfError(f"no space left on the disk while writing {path}")
        self._write(path, value)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    found = Disk(storage.write_json)
    monkeypatch.setattr(storage, "write_json", found)
    return found


class Kept:
    """A keeper of release 1; `ticks` has it look around so many times."""

    def __init__(self, place: Path) -> None:
        (place / "metrics").mkdir(parents=True)
        nothing = SimpleNamespace(fill=lambda: None)
        self.fleet = SimpleNamespace(
            dataset=WS.dataset, place=place, metrics=place / "metrics", fill=self._fill, count=0, processes=[]
        )
        self.host, self.filled, self._left, self._stop = Host(), 0, 0, Event()
        self.trials = Trials(WS.dataset, place, cast(Any, self.host))
        live = releases.read(WS.dataset, 1)
        self.keeper = Keeper(cast(Any, self.host), cast(Any, self.fleet), cast(Any, nothing), live, self.trials)

    def _fill(self) -> None:
        self.filled += 1

    def ticks(self, count: int) -> None:
        answers = iter([False] * count + [True])
        self.keeper.keep(cast(Any, SimpleNamespace(wait=lambda _: next(answers), is_set=lambda: False)))


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kept:
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LLMCF_TRITON_MODELS", str(tmp_path / "models"))
    write_release(WS)
    write_release(WS, live=False)
    arms.path(WS.dataset).parent.mkdir(parents=True, exist_ok=True)
    return Kept(tmp_path / "service")


def told(kept: Kept) -> set[str]:
    """The arms that the workers are told of."""
    found = state.read(kept.fleet.place)
    return set(found.arms.arms) if found else set()


def test_a_file_of_arms_that_cannot_be_read_is_said_once_and_read_when_it_can_be(
    kept: Kept, capsys: pytest.CaptureFixture[str]
) -> None:
    arms.path(WS.dataset).mkdir()
    kept.ticks(3)
    assert kept.filled == 3
    assert capsys.readouterr().err.count("arms.toml cannot be read") == 1
    arms.path(WS.dataset).rmdir()
    arms.path(WS.dataset).write_text(ARMS)
    kept.ticks(1)
    assert told(kept) == {"a"}


def test_a_pointer_that_holds_something_else_ends_nothing(kept: Kept, capsys: pytest.CaptureFixture[str]) -> None:
    pointer = releases._pointer_file(WS.dataset)
    before = pointer.read_text()
    pointer.write_text("{")
    kept.ticks(3)
    assert kept.filled == 3
    assert capsys.readouterr().err.count("fails where the live release is followed") == 1
    pointer.write_text(before)
    kept.ticks(1)
    pointer.write_text("{")
    kept.ticks(2)
    assert capsys.readouterr().err.count("fails where the live release is followed") == 1, "it worked in between"


def test_what_a_full_disk_took_is_written_down_when_there_is_room(
    kept: Kept, disk: Disk, capsys: pytest.CaptureFixture[str]
) -> None:
    disk.full = True
    arms.path(WS.dataset).write_text(ARMS)
    kept.ticks(3)
    assert kept.filled == 3
    assert told(kept) == set()
    assert capsys.readouterr().err.count("fails where the arms are followed") == 1
    disk.full = False
    kept.ticks(1)
    assert told(kept) == {"a"}


def test_an_arm_is_off_though_the_disk_is_full(kept: Kept, disk: Disk) -> None:
    arms.path(WS.dataset).write_text(ARMS)
    kept.ticks(1)
    disk.full = True
    kept.trials.switch_off("a", "60 of 100 requests failed")
    assert kept.trials.on.arms == {}
    disk.full = False
    kept.trials.tell([])
    again = Trials(WS.dataset, kept.fleet.place, cast(Any, kept.host))
    again.follow()
    assert again.on.arms == {}, "over a restart too"


def test_a_release_that_is_not_handed_over_for_want_of_room_leaves_the_one_that_answers(kept: Kept, disk: Disk) -> None:
    kept.ticks(1)
    releases.promote(releases.read(WS.dataset, 2))
    disk.full = True
    kept.ticks(2)
    assert kept.keeper._live.number == 1
    disk.full = False
    kept.ticks(1)
    found = state.read(kept.fleet.place)
    assert found is not None
    assert found.releases == (1,)
