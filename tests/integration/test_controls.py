"""Controls of the chains of thought: the same rows with another text each, made of real prompts and a played model."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from core import steps
from core.contracts import COT_CONTROLS
from core.errors import LlmcfError, UsageError
from core.settings import Workspace
from llm import models
from llm.contexts import contexts, training_split
from llm.cot import controls, packs, wording
from tests.parrot import Parrot, run

pytestmark = pytest.mark.integration


def texts_of(place: Workspace, kind: str) -> list[str]:
    return pq.read_table(place.cot("texts", kind) / "texts.parquet")["text"].to_pylist()


def rows_of(place: Workspace, kind: str) -> list[int]:
    return pq.read_table(place.cot("texts", kind) / "texts.parquet")["row"].to_pylist()


@pytest.mark.parametrize("kind", COT_CONTROLS)
def test_every_control_has_the_same_rows(place: Workspace, model: Path, kind: str) -> None:
    run(place, model, Parrot())
    done = controls.control(place, kind)
    assert rows_of(place, kind) == rows_of(place, "")
    assert (done.details["control"], done.details["texts"]) == (kind, 20)
    assert controls.control(place, kind).skipped
    assert steps.require(place.cot("texts"), "")["summary"]["texts"] == 20, "the set itself is left alone"


def test_facts_and_words_are_what_the_text_is_made_of(place: Workspace, model: Path) -> None:
    run(place, model, Parrot())
    for kind in ("facts", "words"):
        controls.control(place, kind)
    for text, facts, words in zip(texts_of(place, ""), texts_of(place, "facts"), texts_of(place, "words"), strict=True):
        own = [part.strip(" .") for part in words.split(". ") if part.strip(" .")]
        assert all(part in text and part not in facts for part in own)
        assert facts.count("For variety, it adds") == text.count("For variety, it adds") == 1
        assert "For variety, it adds" not in words
        assert facts.startswith(text[:20])


def test_titles_and_shuffled(place: Workspace, model: Path) -> None:
    run(place, model, Parrot())
    for kind in ("titles", "shuffled"):
        controls.control(place, kind)
    chosen = rows_of(place, "")
    split = training_split(place)
    of_row = {one.row: one.target.title for one in contexts(place, split)}
    assert texts_of(place, "titles") == [of_row[row] for row in chosen]
    written, moved = texts_of(place, ""), texts_of(place, "shuffled")
    assert sorted(moved) == sorted(written)
    assert moved != written
    controls.control(place, "shuffled", seed=7)
    assert texts_of(place, "shuffled") != moved


def test_dealt_words_are_all_words_at_random(place: Workspace, model: Path) -> None:
    run(place, model, Parrot())
    controls.control(place, "dealt")
    written, made = texts_of(place, ""), texts_of(place, "dealt")
    assert sorted(" ".join(made).split()) == sorted(" ".join(written).split())
    assert [len(text.split()) for text in made] == [len(text.split()) for text in written]
    assert not set(made) & set(written)
    controls.control(place, "dealt", seed=7)
    assert texts_of(place, "dealt") != made


def test_controls_of_a_restored_pack(
    place: Workspace, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(place, model, Parrot())
    controls.control(place, "words")
    of_written = texts_of(place, "words")
    packs.pack(place, "small", folder=tmp_path / "packs")
    monkeypatch.setattr(models, "llm_path", lambda name: model)
    monkeypatch.setattr(packs, "PACKS", tmp_path / "packs")
    packs.restore(place, "small", cot_set="other", folder=tmp_path / "packs")
    controls.control(place, "words", of="other")
    assert texts_of(place, "words") == of_written


def test_what_cannot_be_made_is_refused(place: Workspace, model: Path) -> None:
    with pytest.raises(LlmcfError, match="cot generate"):
        controls.control(place, "facts")
    with pytest.raises(LlmcfError, match="cot restore --pack PACK --set base"):
        controls.control(place, "facts", of="base")
    run(place, model, Parrot())
    with pytest.raises(UsageError, match="unknown control 'lies'"):
        controls.control(place, "lies")
    with pytest.raises(UsageError, match="'facts' is a control itself"):
        controls.control(place, "words", of="facts")
    run(place, model, Parrot(), style="free")
    with pytest.raises(UsageError, match="'free', which has no openings"):
        controls.control(place, "facts")


def test_texts_of_another_wording_are_told(place: Workspace, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(place, model, Parrot())
    monkeypatch.setitem(wording._OPENINGS, "guided", lambda context, words: ("In short, it is",))
    with pytest.raises(LlmcfError, match="do not begin as the prompts of today do"):
        controls.control(place, "words")
