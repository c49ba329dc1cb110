"""One taker for many pushes gives what a new one for each gives; Feast is left out here."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.data import added, features, tables, vocabulary
from core.data.events import Event
from core.data.prepare import prepare
from core.settings import Workspace
from llmcf.feature_store import filled, jobs, ledger, registry, taking
from llmcf.feature_store.taking import Known, Taker
from tests.shop import START, Shop

DAY = 86_400
FIRST = int(START.timestamp())
NOW = FIRST + 100 * DAY
WS = Workspace("shop", "published")


class Store:
    """An online store: the newest state of each user."""

    def __init__(self) -> None:
        self.states: dict[int, dict] = {}
        self.writes = 0

    def __call__(self, folder: Path, source: str, rows: pa.Table) -> None:
        self.writes += 1
        self.states.update({row["user"]: row for row in rows.to_pylist()})


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """The shop of 1 to 5 March, prepared and materialized by a Feast that does nothing."""
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(registry, "run", lambda ws, *job, folder=None: None)
    made = Shop()
    ready(made, tmp_path)
    return made


def ready(shop: Shop, tmp_path: Path) -> None:
    prepare(WS, source=shop.write(tmp_path / "export"), seed=1)
    features.build(WS)
    jobs.apply(WS)
    jobs.materialize(WS)


def event(user: str, item: str, day: float) -> Event:
    return Event(user, item, FIRST + int(day * DAY))


def taken_in(store: Store, user: str) -> list[str]:
    """The history that a request would read, by raw ids."""
    rows, names = vocabulary.rows("shop", "users"), vocabulary.load("shop", "items")["raw_id"].to_pylist()
    return [names[item - 2] for item in store.states[rows[user]]["history"] if item]


def online() -> float | None:
    return filled.until(WS, Known.read(WS).contents(WS))


def test_one_taker_takes_what_several_would(shop: Shop):
    pushes = [
        [event("p0", "g8", 18), event("newcomer", "novelty", 18)],
        [event("p0", "g9", 19), event("p0", "g8", 18), event("newcomer", "g1", 17)],
        [event("p1", "novelty", 20), event("another", "g2", 20)],
    ]
    store, one = Store(), Taker(WS, (kept := Store()))
    for push in pushes:
        one.take(push, now=NOW)
    for push in pushes:
        Taker(WS, store).take(push, now=NOW)  # all of it is known, and each user's state is written again
    assert kept.states == store.states
    assert len(kept.states) == 4
    assert taken_in(kept, "p0")[-2:] == ["g8", "g9"]
    assert taken_in(kept, "newcomer") == ["g1", "novelty"]
    assert online() == FIRST + 20 * DAY


def test_nothing_is_read_again_while_nothing_changes(shop: Shop, monkeypatch: pytest.MonkeyPatch):
    taker = Taker(WS, Store())
    taker.take([event("p0", "g8", 18), event("newcomer", "novelty", 18)], now=NOW)
    monkeypatch.setattr(Known, "read", lambda ws: pytest.fail("read again"))
    taken = taker.take([event("p0", "g9", 19), event("newcomer", "g1", 17)], now=NOW)
    assert (len(taken.account.accepted), taken.new_users) == (2, 0)


@pytest.mark.parametrize("who", ["push", "prepare", "prepare meanwhile", "vocabulary"])
def test_what_another_process_changed_is_read_again(shop: Shop, tmp_path: Path, who: str):
    store, taker = Store(), None
    taker = Taker(WS, store)

    def meanwhile(_: Known) -> None:  # nobody keeps `data prepare` from ending while rows are brought online
        if who == "prepare meanwhile":
            shop.click("p0", "g7", 17)
            prepare(WS, source=shop.write(tmp_path / "export"), seed=1)

    taker.take([event("p0", "g8", 18)], now=NOW, then=meanwhile)
    if who == "prepare meanwhile":
        ready(shop, tmp_path)
    if who == "push":
        Taker(WS, Store()).take([event("p0", "g7", 17)], now=NOW)
    elif who == "prepare":
        shop.click("p0", "g7", 17)
        ready(shop, tmp_path)
    elif who == "vocabulary":
        vocabulary.grow("shop", "items", ["other"])
    taker.take([event("p0", "novelty", 19)], now=NOW)
    between = [] if who == "vocabulary" else ["g7"]
    assert taken_in(store, "p0")[5:] == [*between, "g8", "novelty"]
    assert online() is not None


def test_what_failed_half_way_is_completed_by_the_next_push(shop: Shop):
    class Fails(Store):
        broken = True

        def __call__(self, folder: Path, source: str, rows: pa.Table) -> None:
            if self.broken:
                raise OSError("the store is gone")
            super().__call__(folder, source, rows)

    store = Fails()
    taker = Taker(WS, store)
    new = [event("newcomer", "novelty", 18)]
    with pytest.raises(OSError, match="gone"):
        taker.take(new, now=NOW)
    assert online() is None, "nobody takes the store for filled"
    store.broken = False
    again = taker.take(new, now=NOW)
    assert again.account.reasons == ["duplicate"]
    assert taken_in(store, "newcomer") == ["novelty"]
    assert len(ledger.events(WS)) == 1


def test_a_late_event_gives_nobody_a_row_and_shifts_no_other(shop: Shop):
    store = Store()
    mixed = [event("p0", "late good", -30), event("nobody", "soon", 100.5), event("newcomer", "novelty", 18)]
    taken = Taker(WS, store).take(mixed, now=NOW)
    assert taken.account.reasons == ["late", "future", None]
    assert (taken.new_users, taken.new_items) == (1, 1)
    assert taken_in(store, "newcomer") == ["novelty"]


def test_materialize_brings_the_offline_history_up_to_what_was_taken(shop: Shop, monkeypatch: pytest.MonkeyPatch):
    Taker(WS, Store()).take([event("p0", "g8", 18)], now=NOW)
    monkeypatch.setattr(registry, "run", lambda ws, *job, folder=None: pytest.fail(f"Feast's {job[0]}"))
    before = tables_of_history()
    assert not jobs.materialize(WS).skipped
    assert len(tables_of_history()) == len(before) + 1
    assert jobs.materialize(WS).skipped


def tables_of_history() -> list[dict]:
    path = WS.path("feast", "data", "user_history.parquet")
    return tables.storage.read_table(path, features.USER_HISTORY, "").to_pylist()


def test_a_taker_waits_for_who_changes_the_features(shop: Shop, monkeypatch: pytest.MonkeyPatch):
    """The store must not be exchanged between judgement and write."""
    held = []
    monkeypatch.setattr(taking.registry, "take_pushes", lambda ws: held.append(lock.is_locked) or [ws.path("feast")])
    lock = registry.locked(WS)
    monkeypatch.setattr(taking.registry, "locked", lambda ws: lock)
    Taker(WS, Store()).take([event("p0", "g8", 18)], now=NOW)
    assert held == [True]


class Items(Store):
    """A store that keeps the rows of items, too."""

    def __init__(self) -> None:
        super().__init__()
        self.items: dict[int, dict] = {}

    def __call__(self, folder: Path, source: str, rows: pa.Table) -> None:
        if source == taking.ITEM_STATES:
            self.items.update({row["item"]: row for row in rows.to_pylist()})
        else:
            super().__call__(folder, source, rows)


LAMP = added.item("lamp", "A lamp", "m1", ["Light"], "")


def test_a_new_item_is_online_with_the_brand_that_the_data_knows(shop: Shop):
    taker = Taker(WS, (store := Items()))
    before = len(vocabulary.rows("shop", "items"))
    taker.add([LAMP, added.item("sofa", "A sofa", "nobody's", ["Light", "Home"], "")])
    rows = vocabulary.rows("shop", "items")
    assert (rows["lamp"], rows["sofa"]) == (before + 2, before + 3)
    lamp, sofa = store.items[rows["lamp"]], store.items[rows["sofa"]]
    assert (lamp["title"], lamp["brand_id"]) == ("A lamp", vocabulary.rows("shop", "brands")["m1"])
    assert (sofa["brand_id"], sofa["category_ids"]) == (0, [0] * 6), "models have learnt nothing of them"
    assert online() is not None
    assert jobs.materialize(WS).skipped, "the account was kept"


def test_histories_have_the_brand_of_an_added_item(shop: Shop):
    taker, store = Taker(WS, (kept := Items())), Store()
    taker.add([LAMP])
    taker.take([event("p0", "lamp", 18)], now=NOW)
    Taker(WS, store).take([event("p0", "lamp", 18)], now=NOW)  # which reads it all anew
    row = vocabulary.rows("shop", "users")["p0"]
    assert kept.states[row]["history_brands"][-1] == vocabulary.rows("shop", "brands")["m1"]
    assert kept.states == store.states


def test_an_item_that_is_added_again_stays_as_it_was(shop: Shop):
    taker = Taker(WS, (store := Items()))
    taker.add([LAMP])
    taker.add([added.item("lamp", "Another lamp", "m2", [], ""), added.item("g1", "Not what is prepared", "", [], "")])
    assert [row["title"] for row in store.items.values()] == ["A lamp"]


def test_materialize_brings_added_items_along(shop: Shop):
    Taker(WS, Items()).add([LAMP])
    WS.path("feast", registry.MATERIALIZED).unlink()
    jobs.materialize(WS)
    titles = pq.read_table(WS.path("feast", "data", "item_attributes.parquet"))["title"].to_pylist()
    assert titles.count("A lamp") == 1
    assert len(titles) == 11


def test_a_preparation_takes_the_item_over_and_the_store_has_it_once(shop: Shop, tmp_path: Path):
    taker = Taker(WS, (store := Items()))
    taker.add([LAMP])
    row = vocabulary.rows("shop", "items")["lamp"]
    ready(shop, tmp_path)
    found = pq.read_table(WS.path("feast", "data", "item_attributes.parquet")).to_pylist()
    assert [one["title"] for one in found if one["item"] == row] == ["A lamp"]
    store.items.clear()
    taker.add([LAMP])
    assert store.items == {}


def test_new_users_have_a_row_and_no_state(shop: Shop):
    taker = Taker(WS, (store := Items()))
    taker.enrol(["newcomer", "p0", "newcomer"])
    taker.take([event("newcomer", "g1", 18)], now=NOW)
    rows = vocabulary.rows("shop", "users")
    assert sorted(rows.values()) == list(range(2, 15))
    assert list(store.states) == [rows["newcomer"]]
