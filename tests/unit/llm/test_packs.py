"""A pack is a file and what is said of it: found by name, whole, of its place, with the way to make it again."""

from pathlib import Path

import pyarrow as pa
import pytest

from core import storage
from core.errors import LlmcfError, UsageError
from core.settings import Workspace
from llm import packs

WS = Workspace("amazon-beauty", "published")
TABLE = pa.table({"row": [1, 2]})


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A folder with the pack `one` of `cot generate`."""
    packs.save(WS, "one", TABLE, {"verb": "cot generate"}, tmp_path)
    return tmp_path


def test_what_was_saved_is_opened(saved: Path) -> None:
    table, manifest = packs.opened(WS, "one", "cot generate", saved)
    assert table.equals(TABLE)
    assert (manifest["dataset"], manifest["order"], manifest["as_of"]) == ("amazon-beauty", "published", "latest")
    assert manifest["sha256"] == storage.sha256(saved / "one.parquet")
    assert packs.names(saved) == packs.names(saved, "cot generate") == ["one"]
    assert packs.names(saved, "kar generate") == []


def test_what_does_not_fit_is_refused(saved: Path) -> None:
    with pytest.raises(UsageError, match="unknown pack 'two'; choose one of: one"):
        packs.opened(WS, "two", "cot generate", saved)
    with pytest.raises(UsageError, match="unknown pack 'two'; choose one of: none here"):
        packs.opened(WS, "two", "kar generate", saved)
    with pytest.raises(UsageError, match="is of `cot generate`, not of `kar generate`"):
        packs.opened(WS, "one", "kar generate", saved)
    other = Workspace("amazon-beauty", "published", "2014-01-01")
    with pytest.raises(UsageError, match=r"is of amazon-beauty, published, latest, not of .* 2014-01-01"):
        packs.opened(other, "one", "cot generate", saved)
    packs.opened(None, "one", "cot generate", saved)
    (saved / "one.parquet").write_bytes(b"PAR1")
    with pytest.raises(LlmcfError, match="is not the file that its manifest describes"):
        packs.opened(WS, "one", "cot generate", saved)


def test_half_a_pack_is_in_nobodys_way_and_a_whole_one_is_not_overwritten(saved: Path) -> None:
    (saved / "two.parquet").write_bytes(b"PAR1")  # killed before its manifest
    assert packs.names(saved) == ["one"]
    packs.save(WS, "two", TABLE, {"verb": "cot generate"}, saved)
    assert packs.names(saved) == ["one", "two"]
    packs.save(WS, "one", TABLE, {"verb": "cot generate"}, saved)  # the same again
    with pytest.raises(UsageError, match="has another pack of that name"):
        packs.save(WS, "one", TABLE.slice(1), {"verb": "cot generate"}, saved)
    assert packs.opened(WS, "one", "cot generate", saved)[0].equals(TABLE)


@pytest.mark.parametrize("name", ["../up", "a b", "", ".hidden", "a/b"])
def test_a_name_is_no_path(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="use letters, digits"):
        packs.save(WS, name, TABLE, {"verb": "cot generate"}, tmp_path)


def test_the_way_to_make_it_again_begins_with_the_models_own_training(tmp_path: Path) -> None:
    plain = packs.origin(WS, tmp_path, "cot generate", {"limit": 9, "part_tokens": 5})
    assert plain["rebuild"] == [
        "llmcf cot generate --dataset amazon-beauty --order published --limit 9 --part-tokens 5"
    ]
    stamp = {"outputs": {}, "config": {"method": "recgen", "seed": 1, "rows": None}, "summary": {"steps": 4}}
    storage.write_json(tmp_path / "step.json", stamp)
    tuned = packs.origin(WS, tmp_path, "cot generate", {})
    assert tuned["rebuild"] == [
        "llmcf recgen train --dataset amazon-beauty --order published --rows 0 --method recgen --seed 1",
        "llmcf cot generate --dataset amazon-beauty --order published",
    ]
    assert tuned["tuning"] == {"config": stamp["config"], "summary": stamp["summary"]}
