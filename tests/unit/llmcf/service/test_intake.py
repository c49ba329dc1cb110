"""The writer: in order, once whatever is killed when, and nothing in the way of anything else."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from core.contracts import PAD
from core.data import added, features, vocabulary
from core.data.events import Event
from core.data.prepare import prepare
from core.errors import Missing, Unavailable
from core.settings import Workspace
from llmcf.feature_store import jobs, ledger, registry
from llmcf.service import additions, intake, state
from llmcf.service.inbox import EVENT, ITEM, USER, Entry, Inbox, Offer
from llmcf.service.intake import Writer
from llmcf.serving.triton_server import Server
from tests.shop import START, Shop

WS = Workspace("shop", "published")
FIRST = int(START.timestamp())
DAY = 86_400


class Stores:
    """Feast's stores, played: the newest row of each user and item; `broken` ones answer nobody."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, int], dict[str, Any]] = {}
        self.broken = False

    def open(self, folder: Path) -> None: ...

    def write(self, folder: Path, source: str, rows: pa.Table) -> None:
        if self.broken:
            raise Unavailable("the store does not answer")
        self.rows.update({(source, next(iter(row.values()))): row for row in rows.to_pylist()})


class Encoder:
    """Vectors by the length of a text; `missing` is not fetched."""

    missing, asked = False, 0

    def __init__(self, name: str) -> None:
        if name and Encoder.missing:
            raise Missing("the encoder is not here", "llmcf llm fetch")
        self.name = name

    def __call__(self, texts: list[str]) -> np.ndarray:
        assert texts, "the real one takes no empty list"
        Encoder.asked += len(texts)
        width = 3 if self.name else 0
        return np.array([[len(text)] * width for text in texts], dtype=np.float32).reshape(len(texts), width)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stores]:
    """The shop of 1 to 5 March, prepared; Feast, the encoder and the release are played."""
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(registry, "run", lambda ws, *job, folder=None: None)
    prepare(WS, source=Shop().write(tmp_path / "export"), seed=1)
    features.build(WS)
    jobs.apply(WS)
    jobs.materialize(WS)
    stores = Stores()
    monkeypatch.setattr(intake, "OpenStores", lambda: stores)
    monkeypatch.setattr(intake, "ItemTexts", Encoder)
    monkeypatch.setattr(Encoder, "missing", False)
    release = SimpleNamespace(number=1, workspace=WS, encoder="model@01")
    monkeypatch.setattr(intake.releases, "require", lambda dataset, number=None: release)
    catalogue = SimpleNamespace(rows={f"g{n}": n for n in range(10)})
    monkeypatch.setattr(intake.Catalogue, "load", lambda release: catalogue)
    for name in ("_TROUBLE_S", "_ENCODER_S"):
        monkeypatch.setattr(intake, name, 0.0)
    yield stores


@pytest.fixture
def box(shop: Stores, tmp_path: Path) -> Inbox:
    return Inbox(tmp_path / "service.db")


def event(number: int, user: str, item: str, day: float) -> Offer:
    body = {"kind": "interaction", "user": user, "item": item, "timestamp": FIRST + int(day * DAY)}
    return Offer(kind=EVENT, id=f"e{number}", said=body, body=body)


def item(raw_id: str, title: str = "A lamp", brand: str = "m1") -> Offer:
    body = {"title": title, "brand": brand, "categories": ["Light"], "description": "Shines."}
    return Offer(kind=ITEM, id=raw_id, said=body, body=body)


def history(stores: Stores, user: str) -> list[str]:
    rows, names = vocabulary.rows("shop", "users"), vocabulary.load("shop", "items")["raw_id"].to_pylist()
    return [names[one - 2] for one in stores.rows["interactions", rows[user]]["history"] if one]


def test_what_waits_is_applied_and_then_no_longer_waits(shop: Stores, box: Inbox):
    writer = Writer("shop", box)
    box.offer([event(1, "p0", "g8", 18), item("lamp"), event(2, "p0", "lamp", 19)])
    box.offer([Offer(kind=USER, id="newcomer", said=1, body={})])
    assert writer.step() == 4
    assert writer.step() == 0
    assert history(shop, "p0")[-2:] == ["g8", "lamp"]
    assert "newcomer" in vocabulary.rows("shop", "users")
    assert [one.item for one in ledger.events(WS)] == ["g8", "lamp"]
    found = additions.read("shop")
    assert (list(found.raw_ids), found.encoder) == (["lamp"], "model@01")
    assert found.row_N.tolist() == [vocabulary.rows("shop", "items")["lamp"]]
    assert found.brand_N.tolist() == [vocabulary.rows("shop", "brands")["m1"]]
    assert found.categories_NC.tolist() == [[PAD] * 6]
    assert found.text_NE.tolist() == [[len("A lamp (m1). Light")] * 3]


@pytest.mark.parametrize("kind", [ITEM, EVENT])
def test_a_kill_between_apply_and_mark_applies_once(
    shop: Stores, box: Inbox, monkeypatch: pytest.MonkeyPatch, kind: str
):
    box.offer([event(1, "p0", "g8", 18), item("lamp")])
    mark = Inbox.applied

    def killed(self: Inbox, entries: Sequence[Entry], outcomes: Sequence[str]) -> None:
        if entries[0].kind == kind:
            raise KeyboardInterrupt
        mark(self, entries, outcomes)

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt), monkeypatch.context() as patch:
            patch.setattr(Inbox, "applied", killed)
            Writer("shop", box).step()
    assert (len(ledger.events(WS)) == 1) == (kind == EVENT), "it was applied"
    assert Writer("shop", box).step() >= 1
    assert [one.item for one in ledger.events(WS)] == ["g8"]
    assert history(shop, "p0").count("g8") == 1
    assert len(added.items(WS)) == len(additions.read("shop")) == 1
    assert box.backlog(10) == 0


@pytest.mark.parametrize("step", ["ledger.add", "vocabulary.grow", "registry.take_pushes"])
def test_a_kill_within_apply_loses_nothing(shop: Stores, box: Inbox, monkeypatch: pytest.MonkeyPatch, step: str):
    module, name = step.split(".")
    place = {"ledger": ledger, "vocabulary": vocabulary, "registry": registry}[module]
    real = getattr(place, name)
    writer = Writer("shop", box)
    box.offer([event(1, "newcomer", "g8", 18), event(2, "newcomer", "g9", 19)])

    def killed_after(*arguments: Any) -> Any:
        real(*arguments)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), monkeypatch.context() as patch:
        patch.setattr(place, name, killed_after)
        writer.step()
    assert box.backlog(10) == 2
    assert Writer("shop", box).step() == 2
    assert history(shop, "newcomer") == ["g8", "g9"]
    assert len(ledger.events(WS)) == 2


def test_what_fails_waits_and_is_told(shop: Stores, box: Inbox, capsys: pytest.CaptureFixture[str]):
    writer = Writer("shop", box)
    box.offer([event(1, "p0", "g8", 18)])
    shop.broken = True
    assert writer.step() == 0
    assert "events that wait: the store does not answer" in capsys.readouterr().err
    assert box.backlog(10) == 1
    shop.broken = False
    assert writer.step() == 1
    assert history(shop, "p0")[-1] == "g8"


def test_items_without_an_encoder_wait_and_hold_up_no_event(shop: Stores, box: Inbox, monkeypatch: pytest.MonkeyPatch):
    box.offer([item("sofa", "A sofa")])
    Writer("shop", box).step()
    monkeypatch.setattr(Encoder, "missing", True)
    writer = Writer("shop", box)
    box.offer([item("lamp"), event(1, "p0", "lamp", 18)])
    assert writer.step() == 1
    assert history(shop, "p0")[-1] == "lamp"
    assert additions.read("shop").text_NE.shape == (1, 3), "the file of before stays"
    monkeypatch.setattr(Encoder, "missing", False)
    assert writer.step() == 1
    assert additions.read("shop").text_NE.shape == (2, 3)


def test_another_live_release_gets_the_additions_in_its_terms(
    shop: Stores, box: Inbox, monkeypatch: pytest.MonkeyPatch
):
    box.offer([item("lamp"), item("sofa", "A sofa")])
    writer = Writer("shop", box)
    writer.step()
    serve(monkeypatch, encoder="another@02", knows={"sofa": 2})
    monkeypatch.setattr(Encoder, "missing", True)
    writer.step()
    assert additions.read("shop").encoder == "model@01", "the file of before stays until the encoder is there"
    monkeypatch.setattr(Encoder, "missing", False)
    writer.step()
    found = additions.read("shop")
    assert (list(found.raw_ids), found.encoder) == (["lamp"], "another@02")


def test_a_release_whose_workspace_is_not_ready_leaves_the_one_before(
    shop: Stores, box: Inbox, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    writer = Writer("shop", box)
    serve(monkeypatch, workspace=Workspace("shop", "published", "2025-03-04"))
    box.offer([event(1, "p0", "g8", 18)])
    assert writer.step() == 1
    assert "intake: the live release: " in capsys.readouterr().err
    assert history(shop, "p0")[-1] == "g8"


def serve(
    monkeypatch: pytest.MonkeyPatch, workspace: Workspace = WS, encoder: str = "model@01", knows: dict | None = None
):
    """Another release is live, as the supervisor notes it."""
    release = SimpleNamespace(number=2, workspace=workspace, encoder=encoder)
    catalogue = SimpleNamespace(rows=knows or {})
    monkeypatch.setattr(intake.releases, "require", lambda dataset, number=None: release)
    monkeypatch.setattr(intake.releases, "of", lambda dataset: [release])
    monkeypatch.setattr(intake.Catalogue, "load", lambda release: catalogue)
    server = Server(pid=1, http_port=1, grpc_port=2, metrics_port=3, log=Path("log"))
    state.write(state.folder("shop"), state.Serving((2,), server))


def test_texts_are_encoded_once(shop: Stores, box: Inbox):
    writer = Writer("shop", box)
    box.offer([item("lamp"), item("sofa", "A sofa")])
    writer.step()
    before = Encoder.asked
    box.offer([item("desk", "A desk")])
    writer.step()
    assert Encoder.asked == before + 1
    Writer("shop", box)
    assert Encoder.asked == before + 2, "a writer that starts encodes one text to warm up"
    assert len(additions.read("shop")) == 3


def test_what_a_release_has_by_now_is_no_addition(shop: Stores, box: Inbox, monkeypatch: pytest.MonkeyPatch):
    writer = Writer("shop", box)
    box.offer([item("lamp"), item("sofa", "A sofa")])
    writer.step()
    known = SimpleNamespace(rows={"lamp": 1})
    monkeypatch.setattr(intake.Catalogue, "load", lambda release: known)
    Writer("shop", box)
    assert list(additions.read("shop").raw_ids) == ["sofa"]
    assert len(added.items(WS)) == 2, "the ledger keeps it"


def test_late_and_known_events_are_applied_by_being_left_out(shop: Stores, box: Inbox):
    writer = Writer("shop", box)
    box.offer([event(1, "p0", "g8", 18), event(2, "p0", "g8", 18), event(3, "p0", "g9", -30)])
    assert writer.step() == 3
    assert [one.item for one in ledger.events(WS)] == ["g8"]
    with box.database.transaction() as connection:
        rows = connection.execute("SELECT id, outcome FROM intake ORDER BY number").fetchall()
    assert rows == [("e1", "taken"), ("e2", "duplicate"), ("e3", "late")]


def test_there_is_one_writer(shop: Stores, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(intake, "_LOCK_S", 0.1)
    with intake.alone("shop"), pytest.raises(Unavailable, match="another writer"), intake.alone("shop"):
        pass
    with intake.alone("shop"):
        pass


def test_a_push_by_the_verb_in_between_is_seen(shop: Stores, box: Inbox):
    writer = Writer("shop", box)
    box.offer([event(1, "p0", "g8", 18)])
    writer.step()
    line = f'{{"user": "p0", "item": "g7", "timestamp": {FIRST + 17 * DAY}}}'
    jobs.push(WS, [line], now=time.time())
    box.offer([event(2, "p0", "g9", 19)])
    writer.step()
    assert history(shop, "p0")[-3:] == ["g7", "g8", "g9"]


def test_a_day_that_goes_live_has_what_the_day_before_took(
    shop: Stores, box: Inbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Its store was filled hours before; a writer that starts or turns to it brings the rest."""
    own = replace(WS, as_of="2025-03-20")
    prepare(own, source=tmp_path / "export", seed=1)
    features.build(own)
    jobs.apply(own)
    jobs.materialize(own)
    day_before = replace(WS, as_of="2025-03-19")
    ledger.add(day_before, [Event("p0", "g8", FIRST + 17 * DAY)])
    release = SimpleNamespace(number=1, workspace=own, encoder="model@01")
    monkeypatch.setattr(intake.releases, "require", lambda dataset, number=None: release)
    shop.broken = True
    writer = Writer("shop", box)
    assert shop.rows == {}
    shop.broken = False
    writer.step()
    assert history(shop, "p0")[-1] == "g8"
    shop.rows.clear()
    writer.step()
    assert shop.rows == {}, "once"
