"""KAR's texts know nothing of what comes later, are kept and restored whole, and become one vector each."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from core import schemas, storage
from core.contracts import FIRST_ID
from core.data import tables
from core.errors import LlmcfError, UsageError
from core.result import Result
from core.settings import Workspace
from llm import models
from llm.contexts import items_in_words
from llm.cot import packs as cot_packs
from llm.kar import embed, generate, packs
from llm.kar.recipes import KarConfig
from llm.texts.job import Question
from tests.parrot import Parrot

pytestmark = pytest.mark.integration
PREFIX = 3


def config(model: Path, **changes: Any) -> KarConfig:
    fields = {"engine": "openvino", "model": str(model), "seed": 1, "users": 6, "items": 8, "prefix": PREFIX}
    return KarConfig(**{**fields, **changes})


def run(ws: Workspace, model: Path, parrot: Parrot, **changes: Any) -> Result:
    with pytest.MonkeyPatch.context() as patch:
        parrot.speaks(patch)
        return generate.generate(ws, config(model, **changes))


def ask(ws: Workspace, model: Path, **changes: Any) -> list[Question]:
    return generate.job(ws, config(model, **changes)).ask(model)


def drawn(ws: Workspace, model: Path, **changes: Any) -> set[tuple[str, int]]:
    return {(one.row["kind"], one.row["id"]) for one in ask(ws, model, **changes)}


def texts(ws: Workspace) -> list[dict]:
    return storage.read_table(ws.path("kar", "texts", "texts.parquet"), schemas.KAR_TEXTS, "").to_pylist()


def test_users_and_items_get_a_text_of_two_parts(place: Workspace, model: Path) -> None:
    done = run(place, model, Parrot())
    made = texts(place)
    assert (done.details["users"], done.details["items"], done.details["fresh"]) == (6, 8, 14)
    assert [(row["kind"], row["prefix"]) for row in made] == [("user", PREFIX)] * 6 + [("item", 0)] * 8
    assert all(row["text"].count("words about") == 2 for row in made)
    assert run(place, model, Parrot()).skipped


def test_a_user_is_asked_about_with_the_first_interactions_alone(place: Workspace, model: Path) -> None:
    """Under the leak rule a row from position `prefix` on may see the text; nothing of that row may be in it."""
    words, rows = items_in_words(place), tables.interactions(place).to_pylist()
    asked = [one for one in ask(place, model, users=None) if one.row["kind"] == "user"]
    assert len(asked) > 20
    later_differs = 0
    for one in asked:
        history = [words[row["item"]].title for row in rows if row["user"] == one.row["id"]]
        early, later = history[:PREFIX], set(history[PREFIX:]) - set(history[:PREFIX])
        assert all(f'"{title}' in one.prompt for title in early)
        assert not any(f'"{title}. ' in one.prompt or f'"{title} (' in one.prompt for title in later)
        later_differs += bool(later)
    assert later_differs > 20


def test_who_is_drawn_depends_neither_on_popularity_nor_on_how_many(place: Workspace, model: Path) -> None:
    few = drawn(place, model)
    assert few < drawn(place, model, users=12, items=16)
    assert few != drawn(place, model, seed=2)


def test_users_with_too_few_interactions_get_none(place: Workspace, model: Path) -> None:
    assert {kind for kind, _ in drawn(place, model, prefix=10_000)} == {"item"}


def test_a_pack_gives_the_same_table_without_a_model(
    place: Workspace, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(place, model, Parrot())
    before, folder = texts(place), tmp_path / "packs"
    assert packs.pack(place, "known", folder=folder).details["texts"] == 14
    monkeypatch.setattr(models, "llm_path", lambda name: model if name == models.LLM else Path("nowhere"))
    storage.remove(place.path("kar", "texts"))
    assert packs.restore(place, "known", folder=folder).details["users"] == 6
    assert texts(place) == before
    with pytest.raises(UsageError, match=r"is of `kar generate`, not of `cot generate`"):
        cot_packs.restore(place, "known", folder=folder)


def test_texts_become_vectors_by_id(place: Workspace, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(place, model, Parrot())
    vectors = {row["text"]: np.array([n + 1, 1], np.float32) for n, row in enumerate(texts(place))}
    monkeypatch.setattr(embed, "Encoder", lambda name: lambda some: np.stack([vectors[text] for text in some]))
    monkeypatch.setattr(embed.models, "encoder_path", lambda name: model)
    assert embed.embed(place).details | {"fresh": 0} == {
        "encoder": models.ENCODER, "width": 2, "users": 6, "items": 8, "fresh": 0,
    }  # fmt: skip
    made = load_file(place.path("kar", "vectors", "vectors.safetensors"))
    assert made["user"].shape == (tables.users(place).num_rows + FIRST_ID, 2)
    for row in texts(place):
        np.testing.assert_array_equal(made[row["kind"]][row["id"]], vectors[row["text"]])
    known = [row["id"] for row in texts(place) if row["kind"] == "user"]
    assert (made["prefix"][known] == PREFIX).all()
    assert (np.delete(made["prefix"], known) == -1).all()
    assert not np.delete(made["user"], known, axis=0).any()


def test_a_model_that_writes_nothing_usable_is_an_error(place: Workspace, model: Path) -> None:
    with pytest.raises(LlmcfError, match="not one usable text was written"):
        run(place, model, Parrot(say="I cannot."))


@pytest.mark.parametrize("changes", [{"users": 0}, {"items": -1}, {"prefix": 0}])
def test_sizes_below_one_are_named(model: Path, changes: dict) -> None:
    with pytest.raises(UsageError, match="is less than 1"):
        config(model, **changes)
