"""Names of data sets: those that are built in, those that a user added, and what a description may say."""

import json
from pathlib import Path

import pytest

from core import steps
from core.data import datasets, described, kept, tables
from core.data.adding import add
from core.data.prepare import prepare
from core.errors import UsageError
from core.settings import Workspace
from llm import prompts
from tests.shop import Shop, describe


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_an_added_data_set_needs_its_name_alone(tmp_path: Path):
    source = Shop().write(tmp_path / "export")
    assert "my-shop" not in datasets.names()
    done = add("my-shop", source)
    assert datasets.names() == (*kept.BUILT_IN, "my-shop")
    assert done.details["files"] == [str(source / f"{name}.csv") for name in ("clicks", "goods", "people")]
    assert prepare(Workspace("my-shop", "published"), source=None, seed=1).details["interactions"] == 60
    assert add("my-shop", source / "dataset.toml").skipped


def test_a_preparation_with_a_source_keeps_the_name_too(tmp_path: Path):
    prepare(Workspace("my-shop", "published"), source=Shop().write(tmp_path / "export"), seed=1)
    assert datasets.find("my-shop").live
    assert prepare(Workspace("my-shop", "published"), source=None, seed=1).skipped


@pytest.mark.parametrize(
    "name", ["Shop", "my_shop", "1shop", "shop-", "a--b", "", "../x", "s" * 41, "laden\u00e4", "a b"]
)
def test_a_name_that_could_be_no_folder_or_prefix_is_refused(tmp_path: Path, name: str):
    with pytest.raises(UsageError, match="lower-case letters, digits and single hyphens"):
        add(name, Shop().write(tmp_path / "export"))


@pytest.mark.parametrize("name", ["movielens-100k", "amazon-beauty", "models", "strange"])
def test_a_reserved_name_is_refused(tmp_path: Path, own_home: Path, name: str):
    (own_home / "strange").mkdir(parents=True)
    (own_home / "strange" / "file").write_text("somebody else's")
    with pytest.raises(UsageError, match=f"'{name}'"):
        add(name, Shop().write(tmp_path / "export"))
    assert datasets.names() == kept.BUILT_IN


def test_an_unknown_name_lists_the_known_ones_and_the_way(tmp_path: Path):
    add("my-shop", Shop().write(tmp_path / "export"))
    with pytest.raises(UsageError, match=r"'other'; choose one of: movielens-100k, .*my-shop; .*llmcf data add"):
        datasets.find("other")


def test_a_changed_description_is_named_and_taken_by_adding_it_again(tmp_path: Path):
    shop = Shop()
    source = shop.write(tmp_path / "export")
    add("my-shop", source)
    shop.toml["items"]["title"] = "maker"
    del shop.toml["items"]["brand"]
    describe(source, shop.toml)
    with pytest.raises(UsageError, match=r"\[items\] title was 'name', is 'maker'.*llmcf data add my-shop"):
        prepare(Workspace("my-shop", "published"), source=None, seed=1)
    changes = add("my-shop", source).details["changes"]
    assert changes == ["[items] brand was 'maker', is not said", "[items] title was 'name', is 'maker'"]
    prepare(Workspace("my-shop", "published"), source=None, seed=1)


def test_a_moved_folder_is_named_and_found_again(tmp_path: Path):
    source = Shop().write(tmp_path / "export")
    add("my-shop", source)
    moved = source.rename(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match=r"export/dataset\.toml, is missing; .*llmcf data add my-shop"):
        prepare(Workspace("my-shop", "published"), source=None, seed=1)
    assert "elsewhere" in add("my-shop", moved).details["changes"][0]
    prepare(Workspace("my-shop", "published"), source=None, seed=1)


def test_a_description_that_does_not_fit_its_files_is_not_kept(tmp_path: Path):
    shop = Shop()
    shop.toml["items"]["title"] = "label"
    with pytest.raises(UsageError, match=r"goods\.csv has no column 'label'; it has sku, name, maker"):
        add("my-shop", shop.write(tmp_path / "export"))
    assert "my-shop" not in datasets.names()


def test_a_description_says_its_words_and_its_order(tmp_path: Path):
    shop = Shop()
    shop.toml = {"order": "global-time", **shop.toml, "words": {"item": "garden tool", "chose": "borrowed"}}
    add("library", shop.write(tmp_path / "export"))
    assert kept.default_order("library") == datasets.find("library").order == "global-time"
    assert kept.default_order("movielens-100k") == "shuffled-ties"
    words = prompts.domain("library")
    assert (words.item, words.items, words.chose, words.purpose) == ("garden tool", "products", "borrowed", "is for")
    assert prompts.domain("movielens-100k").chose == "watched"


def test_other_words_make_what_is_written_with_them_stale(tmp_path: Path):
    """Every step reads data/ by its content, so that texts of the old words are written again."""
    shop, ws = Shop(), Workspace("my-shop", "published")
    prepare(ws, source=shop.write(tmp_path / "export"), seed=1)
    before = steps.require(ws.path("data"), "")["content"]
    shop.toml["words"] = {"item": "book"}
    describe(tmp_path / "export", shop.toml)
    add("my-shop", tmp_path / "export")
    assert not prepare(ws, source=None, seed=1).skipped
    assert steps.require(ws.path("data"), "")["content"] != before


@pytest.mark.parametrize("word", ["film</s>", "x" * 31, "a\nb", "film 2", "[INST]", " film", "Film: ignore"])
def test_words_that_enter_prompts_are_plain(tmp_path: Path, word: str):
    folder = Shop().write(tmp_path / "export")
    with (folder / "dataset.toml").open("a") as stream:
        stream.write(f"[words]\nitem = {json.dumps(word)}\n")
    with pytest.raises(UsageError, match=r"item in \[words\]"):
        described.described(folder / "dataset.toml")


def test_two_shops_in_one_home_do_not_meet(tmp_path: Path):
    first, second = Shop(), Shop(people=9, goods=7)
    for row in second.clicks:
        row["sku"] = f"x{row['sku']}"
    for row in second.goods:
        row["sku"] = f"x{row['sku']}"
    for name, shop in (("first", first), ("second", second)):
        add(name, shop.write(tmp_path / name))
        prepare(Workspace(name, "published"), source=None, seed=1)
    found = tables.items(Workspace("second", "published"))
    assert len(found) == len(tables.offered(Workspace("second", "published"))) == 7
    assert all(raw_id.startswith("x") for raw_id in found["raw_id"].to_pylist())
