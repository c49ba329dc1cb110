"""The supervisor's part of arms, over releases on disk and a host that is played."""

from pathlib import Path
from typing import Any, cast

import pytest

from core.errors import LlmcfError, Unavailable, UsageError
from core.settings import Workspace
from llmcf.service import trials
from llmcf.service.trials import Trials
from llmcf.serving import arms
from llmcf.serving.manifest import Release
from llmcf.serving.triton_host import Host
from llmcf.verbs import service
from tests.synthetic_release import write_release

WS = Workspace("movielens-100k", "shuffled-ties")


class Loads:
    """A host that loads what is not spoiled."""

    def __init__(self, spoiled: int | None = None) -> None:
        self.added: list[int] = []
        self._spoiled = spoiled

    def add(self, release: Release, _: object) -> None:
        if release.number == self._spoiled:
            raise LlmcfError("the canary got a score that is not finite")
        self.added.append(release.number)


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LLMCF_TRITON_MODELS", str(tmp_path / "models"))
    for seed in range(3):
        write_release(WS, seed=seed, live=not seed)
    arms.path(WS.dataset).parent.mkdir(parents=True, exist_ok=True)


def write(text: str) -> None:
    arms.path(WS.dataset).write_text(text)


def make(tmp_path: Path, host: Any) -> Trials:
    return Trials(WS.dataset, tmp_path, cast(Host, host))


TWO = 'experiment = "x"\n[arms.a]\nrelease = 2\npercent = 10\n[arms.b]\nrelease = 3\npercent = 10\n'


def test_a_new_file_is_taken_and_a_faulty_one_not_at_all(tmp_path: Path) -> None:
    host = Loads()
    found = make(tmp_path, host)
    assert not found.follow()
    write(TWO)
    assert found.follow()
    assert not found.follow()
    assert sorted(host.added) == [2, 3]
    assert set(found.on.arms) == {"a", "b"}
    write(TWO.replace("release = 3", "release = 9"))
    assert not found.follow()
    assert set(found.on.arms) == {"a", "b"}
    assert "arms.b.release: 9; there are: 1, 2, 3" in trials.note(tmp_path).fault
    arms.path(WS.dataset).unlink()
    assert found.follow()
    assert found.on.arms == {}
    assert trials.note(tmp_path).fault == ""


def test_what_cannot_be_loaded_is_off_and_the_rest_is_on(tmp_path: Path) -> None:
    write(TWO)
    found = make(tmp_path, Loads(spoiled=2))
    assert found.follow()
    assert set(found.on.arms) == {"b"}
    (off,) = trials.note(tmp_path).off
    assert (off.arm, off.release) == ("a", 2)
    assert "not finite" in off.why


def test_a_triton_that_answers_nobody_switches_no_arm_off(tmp_path: Path) -> None:
    """The fault is not the release's: the arm waits, and another is none the worse. Where it is, the arm is off."""

    class Silent(Loads):
        silent = True

        def add(self, release: Release, _: object) -> None:
            if self.silent and release.number == 3:
                raise Unavailable("no Triton answers")
            super().add(release, _)

    write(TWO)
    host = Silent()
    found = make(tmp_path, host)
    found.silent = lambda: host.silent
    assert found.follow()
    assert not found.follow(), "it is tried again and again"
    assert set(found.on.arms) == {"a"}
    assert trials.note(tmp_path).off == []
    host.silent = False
    assert found.follow()
    assert set(found.on.arms) == {"a", "b"}
    assert not found.follow()
    host.silent, found.silent = True, lambda: False
    write(TWO.replace('"x"', '"y"'))
    assert found.follow()
    assert [one.arm for one in trials.note(tmp_path).off] == ["b"], "the live release answers"


def test_what_is_off_stays_off_over_a_restart_until_the_experiment_is_another(tmp_path: Path) -> None:
    write(TWO)
    found = make(tmp_path, Loads())
    found.follow()
    found.switch_off("b", "60 of 100 requests failed")
    assert set(found.on.arms) == {"a"}
    found = make(tmp_path, Loads())
    found.follow()
    assert set(found.on.arms) == {"a"}
    write(TWO.replace('"x"', '"y"'))
    assert found.follow()
    assert set(found.on.arms) == {"a", "b"}


def test_the_check_tells_what_holds_and_each_fault(capfd: pytest.CaptureFixture[str]) -> None:
    write(TWO)
    service.arms_check(dataset=WS.dataset, as_json=True)
    assert '"percent": 10' in capfd.readouterr().out
    write(TWO.replace("release = 3", "release = 9"))
    with pytest.raises(UsageError, match=r"arms\.b\.release: 9; there are: 1, 2, 3"):
        service.arms_check(dataset=WS.dataset)
