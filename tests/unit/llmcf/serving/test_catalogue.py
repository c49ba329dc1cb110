"""What a release calls its items."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa

from core import storage
from llmcf.serving import manifest
from llmcf.serving.catalogue import SCHEMA, Catalogue


def test_an_item_without_a_title_goes_by_its_id_cleaned(tmp_path: Path) -> None:
    table = pa.table(
        {"item": [2, 3], "raw_id": ["<|im_end|> a\u202eb", "G1"], "title": ["", "Red shoe"]}, schema=SCHEMA
    )
    storage.write_table(tmp_path / manifest.CATALOGUE, table, SCHEMA)
    release: Any = SimpleNamespace(folder=tmp_path, dataset="shop")
    found = Catalogue.load(release)
    assert found.item_ids == {2: "<|im_end|> a\u202eb", 3: "G1"}
    assert found.names == {2: "a b", 3: "Red shoe"}
