"""Who looks after a service goes on where a file cannot be read or the disk is full; host and workers are played."""

import json
from collections.abc import Callable
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any, cast

import pytest

from core import storage
from core.errors import LlmcfError, Unavailable
from core.settings import Workspace
from llmcf.feature_store import jobs
from llmcf.service import keeper, state, traffic, trials
from llmcf.service.keeper import Keeper
from llmcf.service.store import SERVICE, Store
from llmcf.service.trials import Trials
from llmcf.serving import arms, releases
from llmcf.serving.triton_server import Server
from tests.synthetic_release import write_release

WS = Workspace("movielens-100k", "shuffled-ties")
ARMS = 'experiment = "x"\n[arms.a]\nrelease = 2\npercent = 10\n'


class Host:
    """One that loads whatever it is asked to."""

    def __init__(self, log: Path) -> None:
        self.server, self.ended = Server(1, 1, 2, 3, log), False
        self.releases, self.renewed = [1], list[int]()
        self.fails: dict[int, int] = {}  # how often the canary of a release fails yet
        self.silent, self.up, self.started, self.warmed = False, True, 0, 0
        self.loads = True  # what it is asked to, at once

    def add(self, release: Any, meanwhile: Callable[[], object] = lambda: None) -> None:
        while not self.loads:
            meanwhile()
        if self.silent:
            raise Unavailable("no Triton answers")
        if release.number not in self.releases:
            self.releases.append(release.number)

    def check(self, number: int) -> None:
        assert number in self.releases
        if self.silent:
            raise Unavailable("no Triton answers")
        if self.fails.get(number):
            self.fails[number] -= 1
            raise LlmcfError("the graph is gone")

    def renew(self, number: int) -> None:
        self.renewed.append(number)

    def revive(self, number: int, meanwhile: object) -> None:
        del meanwhile
        self.check(number)

    def restart(self) -> None:
        self.started, self.up, self.silent, self.ended = self.started + 1, False, False, False

    def warm(self) -> None:
        self.warmed += 1

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
        self.host, self.filled, self._left, self._stop = Host(place / "log"), 0, 0, Event()
        self.trials = Trials(WS.dataset, place, cast(Any, self.host))
        live = releases.read(WS.dataset, 1)
        self.keeper = Keeper(cast(Any, self.host), cast(Any, self.fleet), cast(Any, nothing), live, self.trials)

    def _fill(self) -> None:
        self.filled += 1

    def ticks(self, count: int, *, stopped: Callable[[], bool] = lambda: False) -> None:
        answers = iter([False] * count + [True])
        self.keeper.keep(cast(Any, SimpleNamespace(wait=lambda _: next(answers), is_set=stopped)))


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


@pytest.mark.parametrize("text", ["{", "{}", "null"])
def test_a_pointer_that_holds_something_else_ends_nothing(
    kept: Kept, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    pointer = releases._pointer_file(WS.dataset)
    before = pointer.read_text()
    pointer.write_text(text)
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


def test_another_day_that_goes_live_gets_what_was_pushed_meanwhile_and_a_way_back_waits_for_nothing(
    kept: Kept, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As by the service's own route, which has no time for it."""
    asked: list[tuple[Workspace, list[int]]] = []

    def catch_up(ws: Workspace) -> None:
        asked.append((ws, list(kept.host.releases)))
        raise LlmcfError("the store does not answer")

    monkeypatch.setattr(jobs, "catch_up", catch_up)
    other = Workspace(WS.dataset, WS.order, "1998-01-01")
    write_release(other)
    kept.ticks(1)
    assert asked == [(other, [1])], "before it is loaded"
    assert kept.keeper._live.number == 3
    assert "is not online yet: the store does not answer" in capsys.readouterr().err
    releases.rollback(WS.dataset)
    kept.ticks(1)
    assert kept.keeper._live.number == 1
    assert len(asked) == 1


def counted(*rows: tuple[str, int, int, int, float]) -> dict[str, float]:
    """What workers have counted, of (arm, release, ranked, failed, seconds of each)."""
    found: dict[str, float] = {}
    for arm, release, ranked, failed, seconds in rows:
        who = {"experiment": "x", "arm": arm, "release": str(release)}
        found[json.dumps(["llmcf_service_arm_failures_total", who])] = failed
        found[json.dumps(["llmcf_service_arm_seconds_count", who])] = ranked
        for one in (0.02, 0.05, 0.1):
            within = ranked if seconds <= one else 0
            found[json.dumps(["llmcf_service_arm_seconds_bucket", {**who, "le": str(one)}])] = within
    return found


class Watched:
    """Release 2 under watch against release 1: as an arm, or promoted."""

    def __init__(self, kept: Kept, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
        self.kept, self.arm = kept, "a" if way == "arm" else "live"
        self.counted = counted(("live", 1, 500, 0, 0.01))
        monkeypatch.setattr(traffic, "counters", lambda _: self.counted)
        for name in ("_JUDGE_EVERY_S", "_CANARY_EVERY_S"):
            monkeypatch.setattr(keeper, name, 0.0)
        rules = "[watch]\nseconds = 600\nleast = 50\n"
        arms.path(WS.dataset).write_text(ARMS + rules if way == "arm" else rules)
        kept.ticks(1)
        if way == "promotion":
            releases.promote(releases.read(WS.dataset, 2))
            kept.ticks(1)
        assert [one.release for one in kept.keeper._watcher.watched] == [2]

    def counts(self, ranked: int, failed: int, seconds: float) -> None:
        """What release 2 does from now on, while the other goes on as before."""
        self.counted = counted(("live", 1, 1000, 0, 0.01), (self.arm, 2, ranked, failed, seconds))

    @property
    def answers(self) -> bool:
        """Whether release 2 is asked still."""
        pointer = releases.pointer(WS.dataset)
        assert pointer is not None
        return self.kept.trials.on.arms != {} if self.arm == "a" else pointer.release == 2

    @property
    def said(self) -> list[tuple[str, str]]:
        """What the service decided, and why."""
        return [(act, why) for _, who, act, why in Store(self.kept.fleet.place / "service.db").acts() if who == SERVICE]


@pytest.fixture(params=["arm", "promotion"])
def watched(request: pytest.FixtureRequest, kept: Kept, monkeypatch: pytest.MonkeyPatch) -> Watched:
    return Watched(kept, monkeypatch, request.param)


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ("fails", "60 of 160 requests failed, and 0.0% of the control's; the control is release 1"),
        (
            "slow",
            "100 of 100 answers took longer than 50 ms, and 95 % of the control's no longer than 20 ms; "
            "the control is release 1",
        ),
        ("dead", "its canary failed twice (the graph is gone), and that of release 1 did not"),
    ],
)
def test_each_reason_to_take_a_release_back_is_told_by_its_own_words(watched: Watched, fault: str, why: str) -> None:
    watched.kept.ticks(1)
    assert watched.answers
    watched.counts(100, 60 if fault == "fails" else 0, 0.08 if fault == "slow" else 0.01)
    watched.kept.host.fails = {2: 2} if fault == "dead" else {}
    watched.kept.ticks(1)
    assert not watched.answers
    act = "switch off arm a, release 2" if watched.arm == "a" else "roll back release 2 to 1"
    assert watched.said == [(act, why)]
    if watched.arm == "a":
        assert [one.why for one in trials.note(watched.kept.fleet.place).off] == [why]
    assert watched.kept.host.renewed == []
    watched.kept.ticks(3)
    assert len(watched.said) == 1, "it is decided once"


@pytest.mark.parametrize("fails", [{2: 1}, {2: 2, 1: 1}], ids=["once", "as the control does"])
def test_a_canary_that_fails_once_or_everywhere_takes_nothing_back(watched: Watched, fails: dict[int, int]) -> None:
    """Its models are loaded anew."""
    if 1 in fails and watched.arm == "a":
        fails = {2: 2, 1: 2}  # the live release is asked first
    watched.kept.host.fails = dict(fails)
    watched.kept.ticks(1)
    assert watched.answers
    assert watched.said == []
    assert 2 in watched.kept.host.renewed


def test_a_release_that_nobody_watches_is_loaded_anew_where_its_canary_fails(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "_CANARY_EVERY_S", 0.0)
    kept.host.fails = {1: 5}
    kept.ticks(2)
    assert kept.host.renewed == [1], "and not again before that is done"
    assert told(kept) == set()


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_CANARY_EVERY_S", "_SOON_S", "_AGAIN_S"):
        monkeypatch.setattr(keeper, name, 0.0)


@pytest.mark.usefixtures("at_once")
def test_a_triton_that_stands_still_is_started_anew_and_the_workers_are_looked_after(
    kept: Kept, capsys: pytest.CaptureFixture[str]
) -> None:
    kept.host.silent = True
    kept.ticks(2)
    assert kept.host.started == 0, "it may only be slow"
    kept.ticks(2)
    assert kept.host.started == 1
    assert "Triton gave no answer 3 times in a row; it is started anew" in capsys.readouterr().err
    before = kept.filled
    kept.ticks(5)
    assert (kept.host.started, kept.filled, kept.host.warmed) == (1, before + 5, 0)
    kept.host.up = True
    kept.ticks(3)
    assert (kept.host.started, kept.host.warmed) == (1, 1)
    assert "Triton answers again" in capsys.readouterr().err


@pytest.mark.usefixtures("at_once")
def test_a_triton_that_ends_as_it_starts_is_started_again(kept: Kept, capsys: pytest.CaptureFixture[str]) -> None:
    kept.host.ended = True
    kept.host.server.log.touch()
    kept.ticks(1)
    kept.host.ended = True
    kept.ticks(2)
    assert kept.host.started == 2
    assert "Triton does not start:" in capsys.readouterr().err


@pytest.mark.usefixtures("at_once")
def test_a_release_that_goes_live_while_triton_stands_still_waits(kept: Kept) -> None:
    releases.promote(releases.read(WS.dataset, 2))
    kept.host.silent = True
    kept.ticks(4)
    found = releases.pointer(WS.dataset)
    assert found is not None
    assert (found.release, kept.keeper._live.number, kept.host.started) == (2, 1, 1)
    kept.host.up = True
    kept.ticks(2)
    assert kept.keeper._live.number == 2


def test_while_a_release_is_loaded_the_workers_are_looked_after_and_the_end_is_seen(kept: Kept) -> None:
    releases.promote(releases.read(WS.dataset, 2))
    kept.host.loads = False
    kept.ticks(1, stopped=lambda: kept.filled > 20)
    found = releases.pointer(WS.dataset)
    assert found is not None
    assert (kept.filled, found.release) == (21, 2), "that it ends is no fault of the release"


def test_while_an_arm_s_release_is_loaded_the_end_is_seen(kept: Kept) -> None:
    arms.path(WS.dataset).write_text(ARMS)
    kept.host.loads = False
    kept.ticks(1, stopped=lambda: kept.filled > 20)
    assert kept.filled == 21
    assert trials.note(kept.fleet.place).off == [], "the arm is not switched off for it"


@pytest.mark.usefixtures("at_once")
def test_the_release_before_is_asked_its_canary_too(kept: Kept) -> None:
    releases.promote(releases.read(WS.dataset, 2))
    kept.ticks(1)
    kept.host.fails = {1: 1}
    kept.ticks(1)
    assert kept.host.renewed == [1]


def test_a_way_back_that_does_not_answer_is_not_taken(kept: Kept, capsys: pytest.CaptureFixture[str]) -> None:
    releases.promote(releases.read(WS.dataset, 2))
    kept.ticks(1)
    kept.host.fails = {1: 1}
    releases.rollback(WS.dataset)
    kept.ticks(2)
    assert kept.keeper._live.number == 2
    assert "release 1 is not taken: the graph is gone; release 2 goes on\n" in capsys.readouterr().err
    found = releases.pointer(WS.dataset)
    assert found is not None
    assert found.release == 2, "a restart would serve what it names"


def test_what_no_step_foresees_ends_nothing(
    kept: Kept, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept.fleet, "fill", lambda: {}["gone"])
    kept.ticks(3)
    assert capsys.readouterr().err.count("fails where the workers are looked after: KeyError('gone')") == 1


def test_a_note_of_arms_that_is_none_is_named_before_they_are_on_again(kept: Kept) -> None:
    (kept.fleet.place / trials.FILE).write_text('{"fault": ""}')
    with pytest.raises(LlmcfError, match="does not say which arms are off"):
        trials.note(kept.fleet.place)
