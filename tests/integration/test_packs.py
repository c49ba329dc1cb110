"""A pack gives back the very texts of a run without its model, and only where the same was asked."""

from pathlib import Path

import pytest

from core import storage
from core.errors import LlmcfError, UsageError
from core.settings import Workspace
from llm import models
from llm import packs as kept
from llm.cot import packs, wording
from llm.recgen import score
from llm.texts.packs import Pack
from tests.parrot import Parrot, run, texts

pytestmark = pytest.mark.integration


@pytest.fixture
def packed(place: Workspace, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the pack `small` of twenty texts; the tokenizer of prompts is the tiny model's."""
    run(place, model, Parrot())
    folder = tmp_path / "packs"
    done = packs.pack(place, "small", folder=folder)
    assert done.details["texts"] == 20
    monkeypatch.setattr(models, "llm_path", lambda name: model if name == models.LLM else Path("nowhere"))
    return folder


def test_a_restored_table_is_the_one_that_was_written(place: Workspace, packed: Path) -> None:
    before = texts(place)
    storage.remove(place.path("cot", "texts"))
    done = packs.restore(place, "small", folder=packed)
    assert (done.details["texts"], done.details["pack"], done.details["fresh"]) == (20, "small", 0)
    assert texts(place) == before
    assert packs.restore(place, "small", folder=packed).skipped


def test_the_manifest_says_how_to_make_it_again(packed: Path) -> None:
    manifest = storage.read_json(packed / "small.json")
    (command,) = manifest["rebuild"]  # the model was not tuned
    assert command.startswith("llmcf cot generate --dataset movielens-100k --order shuffled-ties")
    assert (manifest["texts"], manifest["asked"]) == (20, 20)


def test_texts_for_other_prompts_are_refused(place: Workspace, packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wording, "HISTORY", 1)
    with pytest.raises(LlmcfError, match=r"18 of 20 texts are not in the pack 'small'"):
        packs.restore(place, "small", folder=packed)


def test_a_pack_of_another_place_or_a_changed_file_is_refused(place: Workspace, packed: Path) -> None:
    with pytest.raises(UsageError, match="pack 'small' is of movielens-100k, shuffled-ties, latest, not of"):
        packs.restore(Workspace("amazon-beauty", "published"), "small", folder=packed)
    with pytest.raises(UsageError, match="unknown pack 'large'; choose one of: small"):
        packs.restore(place, "large", folder=packed)
    (packed / "small.parquet").write_bytes((packed / "small.parquet").read_bytes() + b" ")
    with pytest.raises(LlmcfError, match="is not the file that its manifest describes"):
        packs.restore(place, "small", folder=packed)


def test_a_name_is_no_path(place: Workspace, model: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="use letters, digits"):
        packs.pack(place, "../up", folder=tmp_path)


@pytest.mark.parametrize("name", kept.names())
def test_every_pack_of_the_product_is_whole(name: str) -> None:
    verb = storage.read_json(kept.PACKS / f"{name}.json")["verb"]
    if verb == score.VERB:
        table, manifest = kept.opened(None, name, verb)
        assert table.num_rows - table["p_yes"].null_count == manifest["summary"]["scored"]
        return
    held = Pack(None, name, verb)
    assert held.manifest["texts"] == len(held) > 0
    assert all(len(e.parts) == len(e.finish) for e in held._entries.values())
    assert held.manifest["config"]["engine"] == "openvino"
