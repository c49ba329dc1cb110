"""A catalogue is its workspace's own: what was taken before its day, and what its table names and nobody took."""

from pathlib import Path

import numpy as np
import pytest

from core.data import features, tables, texts
from core.data.prepare import prepare
from core.settings import Workspace
from llmcf.reports.data_facts import facts
from tests.shop import Shop

WS = Workspace("shop", "published")


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path / "home"))


def names(ws: Workspace) -> set[str]:
    """Raw ids of what is offered."""
    raw_ids = tables.items(ws)["raw_id"].to_pylist()
    return {raw_ids[item - 2] for item in tables.offered(ws)}


def test_what_went_off_sale_is_not_offered_and_says_nothing(tmp_path: Path):
    """The second export lacks three goods; a row of the vocabulary they keep."""
    before = Shop()
    prepare(WS, source=before.write(tmp_path / "before"), seed=1)
    after = Shop()
    gone = {"g0", "g4", "g9"}
    after.clicks = [row for row in after.clicks if row["sku"] not in gone]
    after.goods = [row for row in after.goods if row["sku"] not in gone]
    prepare(WS, source=after.write(tmp_path / "after"), seed=1)
    assert names(WS) == {f"g{n}" for n in range(10)} - gone
    for row in tables.items(WS).to_pylist():
        if row["raw_id"] in gone:
            assert (row["title"], row["brand"], row["categories"], row["offered"]) == ("", "", [], False)
    assert not set(tables.rows(WS)["item"].to_pylist()) - set(tables.offered(WS).tolist())


def test_an_item_of_a_later_day_is_not_offered_and_an_untaken_one_is(tmp_path: Path):
    shop = Shop()
    shop.goods += [{"sku": "late", "name": "Late", "maker": "m"}, {"sku": "never", "name": "Never", "maker": "m"}]
    shop.click("p0", "late", 9)
    shop.click("p1", "unlisted", 2.5)
    source = shop.write(tmp_path / "export")
    early = Workspace("shop", "published", "2025-03-06")
    for ws, expected in ((WS, {"late", "never", "unlisted"}), (early, {"never", "unlisted"})):
        found = prepare(ws, source=source, seed=1).details
        assert names(ws) == {f"g{n}" for n in range(10)} | expected
        assert found["offered"] == len(expected) + 10
    last = Workspace("shop", "published", "2025-03-05")  # prepared after the vocabulary has seen everything
    prepare(last, source=source, seed=1)
    assert "late" not in names(last)


def test_another_orders_negatives_come_from_what_was_taken(tmp_path: Path):
    shop = Shop()
    shop.goods += [{"sku": f"never{n}", "name": "Never", "maker": "m"} for n in range(50)]
    prepare(WS, source=shop.write(tmp_path / "export"), seed=1)
    raw_ids = tables.items(WS)["raw_id"].to_pylist()
    assert all(raw_ids[item - 2].startswith("g") for item in tables.rows(WS)["item"].to_pylist())


def test_features_and_the_report_know_the_catalogue_only(tmp_path: Path):
    prepare(WS, source=Shop(goods=14).write(tmp_path / "before"), seed=1)
    shop = Shop()
    shop.goods.append({"sku": "never", "name": "Never", "maker": "m"})
    del shop.goods[3]
    prepare(WS, source=shop.write(tmp_path / "after"), seed=1)
    built = features.compute(tables.interactions(WS), tables.items(WS), tables.users(WS))
    for name in ("item_attributes", "item_popularity"):
        assert np.unique(built[name]["item"].to_numpy()).tolist() == tables.offered(WS).tolist()
    found = facts(WS)
    assert (found.items, found.untaken) == (10, 1)
    assert "g3" in {title for title, _, _ in found.popular}, "an item without a title prints by its id"


def test_the_rows_of_other_days_users_say_nothing(tmp_path: Path):
    shop = Shop()
    source = shop.write(tmp_path / "export")
    prepare(WS, source=source, seed=1)
    other = Shop(people=4)
    for row in other.clicks:
        row["who"] = f"q{row['who']}"
    other.people = [*shop.people, *({**row, "who": f"q{row['who']}"} for row in other.people)]
    prepare(WS, source=other.write(tmp_path / "other"), seed=1)
    said = {row["raw_id"]: row["profile"] for row in tables.users(WS).to_pylist()}
    assert said["p0"] == ""
    assert said["qp0"] == "30 years old, female"


def test_an_item_prints_by_its_title_or_by_its_id():
    assert texts.name("Kettle", "g1") == "Kettle"
    assert texts.name("", "g1") == "g1"
    assert texts.name("", "<|im_start|>\u202ex") == "x"
