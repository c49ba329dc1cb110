"""Comments in the questions of `cot generate`: where they are asked for, and not in packs of before there were any."""

from pathlib import Path

import pytest

from core import storage
from core.errors import LlmcfError, UsageError
from core.settings import Workspace
from llm import models
from llm.cot import generate, packs
from llm.cot.recipes import GenerateConfig
from tests import amazon_files, parrot, tiny_llama


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path / "home"))
    return amazon_files.reviewed(Workspace("amazon-beauty", "shuffled-ties"), tmp_path / "source")


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tiny_llama.write(tmp_path / "model")
    monkeypatch.setattr(models, "llm_path", lambda name: folder)
    return folder


def test_a_question_shows_comments_unless_none_are_asked_for(ws: Workspace, model: Path) -> None:
    own, none = (generate.job(ws, parrot.config(model, comments=said)).ask(model) for said in ("own", "none"))
    assert [one.row for one in own] == [one.row for one in none]
    assert sum('(comment: "said' in one.prompt for one in own) > 5
    assert not any("said" in one.prompt for one in none)
    with pytest.raises(UsageError, match="own, none"):
        GenerateConfig(comments="all")


def test_a_pack_of_before_there_were_comments_is_asked_without(ws: Workspace, model: Path, tmp_path: Path) -> None:
    """The official files give the very prompts that the prepared tables gave, so that its texts still fit."""
    parrot.run(ws, model, parrot.Parrot(), comments="none")
    before = parrot.texts(ws)
    packs.pack(ws, "old", folder=tmp_path)
    manifest = storage.read_json(tmp_path / "old.json")
    assert manifest["config"].pop("comments") == "none"
    storage.write_json(tmp_path / "old.json", manifest)
    storage.remove(ws.path("cot", "texts"))
    packs.restore(ws, "old", folder=tmp_path)
    assert parrot.texts(ws) == before
    storage.remove(ws.path("cot", "texts"))
    storage.write_json(tmp_path / "old.json", manifest | {"config": manifest["config"] | {"comments": "own"}})
    with pytest.raises(LlmcfError, match="texts are not in the pack"):
        packs.restore(ws, "old", folder=tmp_path)


@pytest.mark.parametrize(("style", "prompt", "part"), [("guided", 1024, 300), ("free", 1900, 256), ("led", 2049, 1)])
def test_what_no_engine_holds_is_refused(style: str, prompt: int, part: int) -> None:
    """A worker would be killed by each such request."""
    with pytest.raises(UsageError, match="more than the 2,048 that an engine takes; lower --prompt-tokens"):
        GenerateConfig(style=style, prompt_tokens=prompt, part_tokens=part)
