"""Administrators move the pointer, and the audit log says so, whatever comes of it."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from core.errors import LlmcfError, Missing, Unavailable
from core.settings import Workspace
from llmcf.feature_store import registry
from llmcf.service import choosing
from llmcf.service.keys import Key
from llmcf.service.page import operations
from llmcf.service.problems import Problem
from llmcf.service.store import Store
from llmcf.serving import held, releases, thresholds
from tests.synthetic_release import write_release

WS = Workspace("movielens-100k", "shuffled-ties")
ANNA = Key("anna", "admin", "digest", "")


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LLMCF_TRITON_MODELS", str(tmp_path / "models"))
    monkeypatch.setattr(registry, "materialized", lambda ws: {})
    return SimpleNamespace(engine=SimpleNamespace(dataset=WS.dataset), store=Store(tmp_path / "service.db"))


def live() -> int:
    found = releases.pointer(WS.dataset)
    assert found is not None
    return found.release


def test_promotion_and_rollback_move_the_pointer_and_are_noted(service: Any) -> None:
    write_release(WS)
    write_release(WS, live=False)
    assert choosing.before(WS.dataset) is None
    choosing.promote(service, ANNA, 2)
    assert (live(), choosing.before(WS.dataset)) == (2, 1)
    choosing.roll_back(service, ANNA, 1)
    assert live() == 1
    told = [(who, act, outcome) for _, who, act, outcome in service.store.acts()]
    assert told == [("anna", "roll back to release 1", "accepted"), ("anna", "promote release 2", "accepted")]


def test_what_cannot_be_is_refused_and_noted(service: Any) -> None:
    write_release(WS)
    with pytest.raises(Problem, match="404"):
        choosing.promote(service, ANNA, 7)
    with pytest.raises(Problem, match="409"):
        choosing.roll_back(service, ANNA, 7)
    (releases.read(WS.dataset, 1).folder / "release.json").write_text("{}")
    with pytest.raises(Problem, match="409"):
        choosing.promote(service, ANNA, 1)
    outcomes = [outcome for _, _, _, outcome in service.store.acts()]
    assert all(one.startswith("refused: ") for one in outcomes)
    assert "there is no release 7" in outcomes[-1]
    assert "no longer what was live before" in outcomes[-2]
    assert live() == 1


def test_an_act_without_a_line_is_none(
    service: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_release(WS)
    write_release(WS, live=False)

    def full(*_: object) -> None:
        raise Unavailable("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(service.store, "note", full)
        with pytest.raises(Unavailable, match="no space left"):
            choosing.promote(service, ANNA, 2)
    assert live() == 1
    monkeypatch.setattr(service.store, "settle", full)
    choosing.promote(service, ANNA, 2)
    assert live() == 2
    assert service.store.acts()[0][1:] == ("anna", "promote release 2", "asked")
    assert "anna asked to promote release 2, accepted; the audit log says only" in capsys.readouterr().err


def test_what_could_not_be_served_is_refused_before_anything_moves(
    service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_release(WS)
    write_release(WS, live=False)

    def fails(error: LlmcfError) -> Any:
        def check(*_: object) -> None:
            raise error

        return check

    for module, name in ((held, "check"), (registry, "materialized"), (releases, "require")):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, fails(Missing("it is gone", "llmcf export")))
            with pytest.raises(Problem, match="it is gone") as refused:
                choosing.promote(service, ANNA, 2)
        assert (refused.value.status, refused.value.kind, live()) == (409, "unservable", 1)
    with monkeypatch.context() as patch:
        patch.setattr(held, "check", fails(Unavailable("Milvus does not answer")))
        with pytest.raises(Unavailable):
            choosing.promote(service, ANNA, 2)
    choosing.promote(service, ANNA, 2)
    assert live() == 2


def test_of_what_cannot_be_read_nothing_differs(service: Any) -> None:
    write_release(WS)
    write_release(WS, live=False)
    (releases.read(WS.dataset, 2).folder / "release.json").write_text("{}")
    with pytest.raises(Problem, match="release 2 cannot be read") as refused:
        operations.differences(service.engine.dataset, 1, 2)
    assert refused.value.status == 409


def test_where_a_check_is_demanded_nobody_promotes_what_has_not_passed(service: Any) -> None:
    write_release(WS)
    write_release(WS, live=False)
    file = thresholds.path(WS.dataset)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("required = true\n", encoding="utf-8")
    with pytest.raises(Problem, match="not checked") as refused:
        choosing.promote(service, ANNA, 2)
    assert refused.value.status == 409
    assert live() == 1
    file.unlink()
    choosing.promote(service, ANNA, 2)
    assert live() == 2
