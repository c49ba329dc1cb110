"""A pack gives back the very texts of a run without its model, and only where the same was asked."""

import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from core import storage
from core.errors import LlmcfError, UsageError
from core.settings import Workspace
from llm import models
from llm import packs as kept
from llm.contexts import training_split
from llm.cot import judge, packs, wording
from llm.cot.selection import choose
from llm.recgen import score
from llm.texts.packs import Pack
from tests.parrot import Parrot, run, texts

pytestmark = pytest.mark.integration
llm_path = models.llm_path


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


def test_a_part_of_a_pack_is_the_smaller_draw(place: Workspace, packed: Path) -> None:
    whole = {row["row"]: row["text"] for row in texts(place)}
    done = packs.restore(place, "small", cot_set="few", limit=7, folder=packed)
    few = {row["row"]: row["text"] for row in pq.read_table(done.artifacts["texts"]).to_pylist()}
    assert len(few) == 7
    assert few.items() <= whole.items()
    seed = storage.read_json(packed / "small.json")["config"]["seed"]
    chosen = choose(place, training_split(place), 7, selection="uniform", seed=seed)
    assert chosen["row"].to_pylist() == list(few), "the rows that a run of seven chooses"
    assert packs.restore(place, "small", cot_set="few", limit=7, folder=packed).skipped
    assert not packs.restore(place, "small", cot_set="few", limit=8, folder=packed).skipped
    with pytest.raises(UsageError, match="--limit 21 is not between 1 and 20, the rows of pack 'small'"):
        packs.restore(place, "small", cot_set="few", limit=21, folder=packed)


def test_the_manifest_says_how_to_make_it_again(packed: Path) -> None:
    manifest = storage.read_json(packed / "small.json")
    (command,) = manifest["rebuild"]  # the model was not tuned
    assert command.startswith("llmcf cot generate --dataset movielens-100k --order shuffled-ties")
    assert (manifest["texts"], manifest["asked"]) == (20, 20)


OPTIONS = {"style": "led", "part_tokens": 20, "prompt_tokens": 120, "candidates": 2, "attempts": 3, "limit": 12}


def test_whatever_was_generated_is_packed_and_restored(
    place: Workspace, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The options are those that were generated with: nobody says them again."""
    monkeypatch.setattr(judge, "best", lambda table, contexts, *, blind: table)
    run(place, model, Parrot(), recipe="paper", **OPTIONS)
    before = texts(place)
    assert len(before) == 24
    done = packs.pack(place, "other", folder=tmp_path / "packs")
    assert done.details["texts"] == 24
    (command,) = storage.read_json(tmp_path / "packs" / "other.json")["rebuild"]
    assert all(f" --{name.replace('_', '-')} {value}" in command for name, value in OPTIONS.items())
    monkeypatch.setattr(models, "llm_path", lambda name: model)
    storage.remove(place.path("cot", "texts"))
    packs.restore(place, "other", folder=tmp_path / "packs")
    assert texts(place) == before
    with pytest.raises(UsageError, match="these texts came from the pack 'other'"):
        packs.pack(place, "again", folder=tmp_path / "packs")


def test_what_was_written_for_other_data_or_by_another_model_is_not_packed(
    place: Workspace, model: Path, tmp_path: Path
) -> None:
    own = shutil.copytree(model, tmp_path / "own")
    with pytest.raises(LlmcfError, match=r"run `llmcf cot generate --dataset"):
        packs.pack(place, "none", folder=tmp_path)
    run(place, own, Parrot())
    (own / "tokenizer_config.json").write_text("{}")
    with pytest.raises(LlmcfError, match=r"own is another model than the one that wrote these texts"):
        packs.pack(place, "other", folder=tmp_path)
    shutil.copyfile(model / "tokenizer_config.json", own / "tokenizer_config.json")
    rows = place.path("training")
    shared = rows.resolve()
    rows.unlink()  # the small world's own, which others read
    shutil.copytree(shared, rows)
    storage.write_json(rows / "step.json", storage.read_json(rows / "step.json") | {"content": "other"})
    with pytest.raises(LlmcfError, match="these texts are of other data or another version"):
        packs.pack(place, "other", folder=tmp_path)


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
    assert held.manifest["config"]["engine"] in ("openvino", "transformers")


def test_a_pack_of_a_model_with_another_chat_template_asks_for_that_model(
    place: Workspace, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prompts are cut to a model's tokens and hashed in its template: by another one none would be found."""
    other = shutil.copytree(model, tmp_path / "other")
    file = other / "chat_template.jinja"
    file.write_text("Some lines.\n" + file.read_text())
    monkeypatch.setattr(models, "llm_path", lambda name: {models.LLM: model, str(other): other}[name])
    run(place, other, Parrot())
    before, folder = texts(place), tmp_path / "packs"
    packs.pack(place, "other", folder=folder)
    storage.remove(place.path("cot", "texts"))
    packs.restore(place, "other", folder=folder)
    assert texts(place) == before
    file.write_text("More. " + file.read_text())
    storage.remove(place.path("cot", "texts"))
    with pytest.raises(
        LlmcfError, match=r"the prompts of pack 'other' are in another form than those of .*other: its chat"
    ):
        packs.restore(place, "other", folder=folder)
    manifest = storage.read_json(folder / "other.json")
    storage.write_json(folder / "other.json", manifest | {"llm": "owner/name"})
    monkeypatch.setattr(models, "llm_path", lambda name: model if name == models.LLM else llm_path(name))
    with pytest.raises(LlmcfError, match="llmcf llm fetch --llm owner/name"):
        packs.restore(place, "other", folder=folder)
