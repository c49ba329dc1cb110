"""What a release calls its items."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from core import storage
from core.data import vocabulary
from llmcf.serving import manifest
from llmcf.serving.catalogue import SCHEMA, Catalogue, Users


def test_an_item_without_a_title_goes_by_its_id_cleaned(tmp_path: Path) -> None:
    columns = {"item": [2, 3], "raw_id": ["<|im_end|> a\u202eb", "G1"], "title": ["", "Red shoe"]}
    facts = {"brand": [None, "Acme"], "categories": [None, ["shoes", "red"]], "category_ids": [None, [4, 7]]}
    table = pa.table(columns | facts, schema=SCHEMA)
    storage.write_table(tmp_path / manifest.CATALOGUE, table, SCHEMA)
    release: Any = SimpleNamespace(folder=tmp_path, dataset="shop")
    found = Catalogue.load(release)
    assert found.item_ids == {2: "<|im_end|> a\u202eb", 3: "G1"}
    assert found.names == {2: "a b", 3: "Red shoe"}
    assert found.rows == {"<|im_end|> a\u202eb": 2, "G1": 3}
    assert found.brands == {2: "", 3: "Acme"}
    assert found.categories == {2: [], 3: ["shoes", "red"]}
    assert found.category_ids == {"shoes": 4, "red": 7}


def test_users_are_found_by_how_their_id_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path))
    rows = vocabulary.grow("shop", "users", ["ann", "ben", "anna", "an.*"])
    users, by_row = Users("shop"), sorted(rows, key=rows.__getitem__)
    assert users.starting("an", 9) == [one for one in by_row if one != "ben"]
    assert users.starting("an", 2) == users.starting("an", 9)[:2]
    assert users.starting("an.", 9) == ["an.*"]
    assert users.starting("x", 9) == []
    assert users.starting("", 9) == by_row
