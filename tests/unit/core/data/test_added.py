"""Items between two preparations: what is kept of them, where they count, and how a preparation takes them over."""

from pathlib import Path

import pytest

from core.contracts import FIRST_ID, PAD
from core.data import added, tables, vocabulary
from core.data.events import NoEventError
from core.data.prepare import prepare
from core.settings import Workspace
from tests.shop import Shop


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path / "home"))
    made = Shop()
    made.write(tmp_path / "export")
    return made


def place(as_of: str = "latest") -> Workspace:
    return Workspace("shop", "published", as_of)


def lamp(raw_id: str = "lamp", title: str = "A lamp", brand: str = "m1") -> added.Item:
    return added.item(raw_id, title, brand, ["Light", "Home"], "Shines.")


def test_an_items_texts_are_cleaned_as_prepared_ones_are():
    found = added.item(" 7.0 ", "<|im_start|>A\nlamp", "Lumen &amp; Co", ["Light", "", "<b>"], "It\tshines.")
    assert found == added.Item(
        raw_id="7", title="A lamp", brand="Lumen & Co", categories=("Light",), description="It shines."
    )
    assert found.text == "A lamp (Lumen & Co). Light"


def test_without_a_title_the_description_says_what_it_is():
    found = added.item("x", "", "", [], "word " * 100)
    assert found.title.startswith("word word")
    assert len(found.title) <= 160
    assert added.item("x", "", "", [], "").text == "unknown item"


def test_what_is_no_id_is_no_item():
    with pytest.raises(NoEventError, match="control character"):
        lamp("a\x00b")


def test_the_description_makes_no_difference_to_sameness():
    assert lamp().same(added.item("lamp", "A lamp", "m1", ["Light", "Home"], "Other words."))
    assert not lamp().same(lamp(title="Another lamp"))


def test_added_twice_is_there_once_and_as_it_was_first(shop: Shop):
    added.add(place(), [lamp(), lamp("sofa")])
    added.add(place(), [lamp(title="Another"), lamp("desk")])
    assert [(one.raw_id, one.title) for one in added.items(place())] == [
        ("lamp", "A lamp"), ("sofa", "A lamp"), ("desk", "A lamp")
    ]  # fmt: skip
    assert added.items(place())[0] == lamp()


def test_it_counts_in_the_workspace_that_took_it_and_in_later_ones(shop: Shop):
    added.add(place("2025-03-10"), [lamp()])
    assert added.digest(place("2025-03-04")) is None
    assert added.digest(place("2025-03-10")) == added.digest(place("2025-03-11")) == added.digest(place())
    added.add(place("2025-03-04"), [lamp()])  # taken there, too
    assert len(added.items(place("2025-03-04"))) == len(added.items(place())) == 1


def test_a_preparation_offers_added_items_under_the_rows_they_have(shop: Shop, tmp_path: Path):
    ws = place()
    prepare(ws, source=tmp_path / "export", seed=1)
    assert prepare(ws, source=None, seed=1).skipped
    row = vocabulary.grow("shop", "items", ["lamp"])["lamp"]
    added.add(ws, [lamp(), added.item("g3", "Not what the files say", "", [], "")])
    assert not prepare(ws, source=None, seed=1).skipped
    found = tables.items(ws).to_pylist()[row - FIRST_ID]
    assert (found["raw_id"], found["title"], found["offered"]) == ("lamp", "A lamp", True)
    assert found["text"] == lamp().text
    assert found["brand_id"] == vocabulary.rows("shop", "brands")["m1"] != PAD
    assert [one["title"] for one in tables.items(ws).to_pylist() if one["raw_id"] == "g3"] == ["Good 3"]
    assert row in tables.offered(ws)
    assert prepare(ws, source=None, seed=1).skipped
    earlier = place("2025-03-04")
    prepare(earlier, source=None, seed=1)
    assert row not in tables.offered(earlier)
