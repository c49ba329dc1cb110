"""How a worker starts while something is amiss that running workers put up with; releases are played."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from core.errors import LlmcfError, Missing, Unavailable
from core.settings import Workspace
from llmcf.service import additions, house, rules, state
from llmcf.service import engine as engine_module
from llmcf.service.breaker import FAILURES
from llmcf.service.engine import Engine
from llmcf.service.house import Rules
from llmcf.service.rules import Scene
from llmcf.service.state import Serving
from llmcf.serving import releases
from llmcf.serving.arms import NONE, Arms
from llmcf.serving.held import Unfit
from llmcf.serving.recommender import Recommender
from llmcf.serving.triton_server import Server

DATASET = "shop"
FAULTY = "[scenes.home]\nbost = 1\n"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path / "home"))
    rules.path(DATASET).parent.mkdir(parents=True)
    arms = Arms.model_validate({"experiment": "x", "arms": {"a": {"release": 5, "percent": 10.0}}})
    state.write(tmp_path / "service", Serving((3, 4), Server(1, 1, 2, 3, Path("log")), arms))
    return tmp_path / "service"


@dataclass(frozen=True, slots=True)
class Loads:
    """Says which releases cannot be loaded, and with what; and which were asked for."""

    spoil: Callable[..., None]
    asked: list[int]

    def __call__(self, **found: Exception | None) -> None:
        self.spoil(**found)


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> Loads:
    spoiled: dict[int, Exception] = {}
    asked: list[int] = []

    def load(_: Engine, number: int, *__: Any) -> Any:
        asked.append(number)
        if number in spoiled:
            raise spoiled[number]
        played = SimpleNamespace(
            release=SimpleNamespace(number=number, workspace=None, collections={}), lacks_examples=False
        )
        played.with_additions = lambda _: played
        return played

    monkeypatch.setattr(Engine, "_load", load)

    def spoil(**found: Exception | None) -> None:
        for number, error in found.items():
            spoiled.pop(int(number[1:]), None)
            spoiled.update({int(number[1:]): error} if error else {})

    return Loads(spoil, asked)


@contextmanager
def started(place: Path) -> Iterator[Engine]:
    engine = Engine(DATASET, place)
    try:
        yield engine
    finally:
        engine.close()


def test_only_the_live_release_has_to_load(place: Path, loads: Loads, capsys: pytest.CaptureFixture[str]) -> None:
    loads(_4=LlmcfError("there is no release 4"), _5=FileNotFoundError("removed just now"))
    with started(place) as engine:
        assert engine.live.release.number == 3
        assert [engine.find(number) for number in (4, 5)] == [None, None]
    assert state.workers(place)
    assert "this worker does without release 4: there is no release 4" in capsys.readouterr().err
    loads(_3=LlmcfError("Milvus does not hold its items"))
    with pytest.raises(LlmcfError, match="its items"):
        Engine(DATASET, place)


def test_what_stands_beside_the_live_release_is_tried_again(
    place: Path, loads: Loads, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(engine_module, "_AGAIN_S", 0.3)
    loads(_4=Unavailable("Milvus is busy"))
    with started(place) as engine:
        time.sleep(1.2)
        assert engine.find(4) is None
        assert 3 <= loads.asked.count(4) <= 6, "with a pause in between"
        loads(_4=None)
        end = time.monotonic() + 10
        while engine.find(4) is None:
            assert time.monotonic() < end
            time.sleep(0.02)
        time.sleep(0.5)
        asked = len(loads.asked)
        time.sleep(0.5)
        assert len(loads.asked) == asked, "nothing is lacking"
    assert capsys.readouterr().err.count("this worker does without release 4: Milvus is busy") == 1


def test_a_live_release_that_cannot_be_loaded_is_tried_again_with_a_pause(
    place: Path, loads: Loads, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(engine_module, "_AGAIN_S", 0.4)
    with started(place) as engine:
        loads(_6=Missing("Milvus does not hold its items", "llmcf export"))
        state.write(place, Serving((6, 3), Server(1, 1, 2, 3, Path("log"))))
        time.sleep(1.2)
        assert 2 <= loads.asked.count(6) <= 4
        assert capsys.readouterr().err.count("does not hold its items") == 1
        assert engine.live.release.number == 3
        loads(_6=None)
        end = time.monotonic() + 10
        while engine.live.release.number != 6:
            assert time.monotonic() < end
            time.sleep(0.02)


@pytest.mark.usefixtures("loads")
def test_a_worker_starts_with_the_rules_that_were_taken_last(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rules.path(DATASET).write_text(FAULTY)
    with started(place) as engine:
        assert engine.rules.scenes == {"default": Scene()}
    assert "this worker starts without rules: " in capsys.readouterr().err
    taken = {"default": Scene(deny=["p7"]), "home": Scene.model_validate({"pin": [{"items": ["p1"], "share": 0.5}]})}
    house.keep(Rules(taken, {}), place)
    with started(place) as engine:
        assert engine.rules.scenes == taken
    assert "this worker starts with the rules as they were: " in capsys.readouterr().err


@pytest.mark.usefixtures("loads")
def test_rules_that_a_worker_takes_are_those_of_the_next_one(place: Path) -> None:
    rules.path(DATASET).write_text('[scenes.default]\ndeny = ["p7"]\n')
    with started(place) as engine:
        engine._follow_rules()
    rules.path(DATASET).write_text(FAULTY)
    with started(place) as engine:
        assert engine.rules.scenes["default"].deny == ["p7"]


STOCKED = '[scenes.default]\navailable = "stock.txt"\n'


@pytest.mark.usefixtures("loads")
def test_what_is_available_is_followed_and_stays_where_its_file_is_gone(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stock, said, counted = (
        rules.path(DATASET).with_name("stock.txt"),
        "stock.txt, which a rule names",
        FAILURES.labels("following"),
    )
    rules.path(DATASET).write_text(STOCKED)
    stock.write_text("p1\np2\n")

    def available(engine: Engine) -> list[str] | None:
        return engine.rules.available(engine.rules.scenes["default"])

    def until(engine: Engine, wanted: list[str]) -> None:
        end = time.monotonic() + 10
        while available(engine) != wanted:
            assert time.monotonic() < end
            time.sleep(0.02)

    with started(place) as engine:
        until(engine, ["p1", "p2"])
        stock.write_text("p3\n")
        until(engine, ["p3"])
        before = counted._value.get()
        stock.unlink()
        time.sleep(0.5)
        assert available(engine) == ["p3"]
        assert counted._value.get() == before + 1
        assert capsys.readouterr().err.count(said) == 1
    with started(place) as engine:
        assert available(engine) == ["p3"], "a worker that starts meanwhile"
        stock.write_text("p4\n")
        until(engine, ["p4"])
        rules.path(DATASET).write_text(STOCKED.replace("stock", "other"))
        time.sleep(0.3)
        assert available(engine) == ["p4"], "rules whose list is not there are not taken"
        rules.path(DATASET).with_name("other.txt").write_text("p5\n")
        until(engine, ["p5"])


@pytest.mark.usefixtures("loads")
def test_added_items_that_cannot_be_read_stop_no_worker(place: Path) -> None:
    additions.path(DATASET).parent.mkdir(parents=True, exist_ok=True)
    additions.path(DATASET).write_text("no table")
    with started(place) as engine:
        assert cast(Any, engine.live).release.number == 3


class Store:
    """A feature store that may be down."""

    def __init__(self, *, down: bool) -> None:
        self._down = down

    def user(self, _: int) -> dict[str, Any]:
        if self._down:
            raise Unavailable("Redis does not answer")
        return {"history": []}

    def prepare(self, _: Any) -> None:
        pass


@pytest.fixture
def workspaces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Releases 3 and 4 read one workspace, 5 another, whose store is down."""
    days = {3: "latest", 4: "latest", 5: "2026-01-31"}

    def require(dataset: str, number: int) -> Any:
        ws = Workspace(dataset, "published", days[number])
        return SimpleNamespace(number=number, workspace=ws, models=None, stages={}, encoder="", collections={})

    def load(release: Any, *, kept: Path | None = None) -> Recommender:
        nothing: Any = SimpleNamespace(rows={}, item_ids={})
        return Recommender(
            release=release,
            catalogue=nothing,
            users=nothing,
            taken=nothing,
            features=cast(Any, Store(down=release.number == 5)),
            search=nothing,
            examples=None,
        )

    monkeypatch.setattr("llmcf.service.engine.releases.require", require)
    monkeypatch.setattr(Recommender, "load", load)
    monkeypatch.setattr("llmcf.service.engine.Canary", lambda *_: None)


@pytest.mark.usefixtures("workspaces")
def test_a_store_that_only_an_arm_reads_fails_for_that_arm_alone(place: Path) -> None:
    with started(place) as engine:
        live, before, arm = (engine.find(number) for number in (3, 4, 5))
        assert live
        assert before
        assert arm
        for _ in range(5):
            assert arm.features.user(7) is None
        live.features.watch()
        assert live.features.user(7) == {"history": []}
        assert not live.features.degraded
        assert live.features._breaker is before.features._breaker, "one store, one breaker"
        serving = state.read(place)
        assert serving is not None
        state.write(place, replace(serving, releases=(3,), arms=NONE))
        engine._follow()
        assert engine.find(5) is None
        assert "2026-01-31" not in str(engine._stores.keys())


@pytest.mark.usefixtures("workspaces")
@pytest.mark.parametrize(("error", "live"), [(Missing, 4), (Unfit, 3)])
def test_a_release_goes_without_examples_that_are_gone_and_not_without_those_of_another_encoder(
    place: Path, monkeypatch: pytest.MonkeyPatch, error: type[Missing], live: int
) -> None:
    whole, found = Recommender.load, releases.require

    def load(release: Any, *, without_examples: bool = False, kept: Path | None = None) -> Recommender:
        if release.number == 4 and not without_examples:
            raise error("its examples are not as they were", "llmcf export")
        return whole(release, kept=kept)

    def require(dataset: str, number: int) -> Any:
        return SimpleNamespace(**{**vars(found(dataset, number)), "collections": {"cot": "c"}})

    monkeypatch.setattr(Recommender, "load", load)
    monkeypatch.setattr("llmcf.service.engine.releases.require", require)
    monkeypatch.setattr(Engine, "_watch", lambda _: None)
    monkeypatch.setattr(Recommender, "prepare", lambda _: None)
    serving = state.read(place)
    assert serving is not None
    state.write(place, replace(serving, releases=(3,), arms=NONE))
    with started(place) as engine:
        state.write(place, replace(serving, releases=(4, 3), arms=NONE))
        engine._try(engine._follow)
        assert engine.live.release.number == live


@pytest.mark.usefixtures("loads")
def test_a_reason_is_said_and_counted_once_as_long_as_it_stays(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Engine, "_watch", lambda _: None)
    why = ["one", "one", "other", "", "other"]

    def follow() -> None:
        if found := why.pop(0):
            raise ValueError(found)

    before = FAILURES.labels("following")._value.get()
    with started(place) as engine:
        capsys.readouterr()
        for _ in range(5):
            engine._try(follow)
    told = capsys.readouterr().err.splitlines()
    assert [line.partition("as it is: ")[2] for line in told] == ["ValueError('one')", *["ValueError('other')"] * 2]
    assert FAILURES.labels("following")._value.get() == before + 3
