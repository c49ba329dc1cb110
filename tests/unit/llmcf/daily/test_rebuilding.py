"""What a removed release is made anew by: the verbs of its manifest, as far as their folders are not there."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.errors import LlmcfError
from core.settings import Workspace
from core.steps import STAMP
from llmcf.daily import rebuilding
from llmcf.daily.choosing import Known, known_until
from llmcf.serving import gone, releases
from llmcf.serving.manifest import Release
from tests.meta.test_remedies import parse
from tests.synthetic_release import write_release

DATASET, ORDER, DAY = "movielens-100k", "shuffled-ties", "2026-01-31"
WS = Workspace(DATASET, ORDER, DAY)
PLACE = f"--dataset {DATASET} --order {ORDER} --as-of {DAY}"


@pytest.fixture(autouse=True)
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMCF_TRITON_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path / "home"))


def release(framework: str, *, recipe: str = "strict", **facts: Any) -> Release:
    """On disk, of backbones that there are."""
    made = write_release(WS, seed=5, encoder="all-minilm-l6-v2@abc", live=False)
    kinds = {"ranker": "deepfm", "user_vector": "sasrec"}
    towers = {"ranker": framework, "user_vector": "llm-cf" if "llm-cf" in framework else "none"}
    stages = {
        model: replace(stage, backbone=kinds[model], framework=towers[model], recipe=recipe)
        for model, stage in made.stages.items()
    }
    changed = replace(made, stages=stages, **facts)
    changed.write(changed.folder)
    return changed


def made(*parts: str) -> None:
    folder = WS.path(*parts)
    folder.mkdir(parents=True)
    (folder / STAMP).write_text(json.dumps({"outputs": {}}))


def verbs(one: Release) -> list[str]:
    found = list(rebuilding.preparing(one))
    for command in found:
        parse(command)
        assert PLACE in command
    return [command.removeprefix("llmcf ").removesuffix(f" {PLACE}") for command in found]


ROWS = ["data prepare --seed 5", "features build", "features apply", "features join"]


def trained(framework: str, recipe: str = "strict", tower: str = "none") -> list[str]:
    return [
        f"rank train --model deepfm --framework {framework} --recipe {recipe} --seed 5",
        f"retrieve train --model sasrec --framework {tower} --recipe {recipe} --seed 5",
    ]


def test_a_plain_release_needs_rows_and_two_trainings() -> None:
    assert verbs(release("none")) == [*ROWS, *trained("none")]


def test_texts_are_written_and_embedded_by_the_same_encoder() -> None:
    texts = ["cot generate --seed 5", "cot embed --encoder all-minilm-l6-v2"]
    one = release("llm-cf")
    found = verbs(one)
    assert found[:6] == [*ROWS, *texts]
    assert found[-2:] == trained("llm-cf", tower="llm-cf")
    made("data")
    made("training")
    made("cot", "texts")
    assert verbs(one)[0] == texts[1], "what is there is taken as it is"
    made("cot", "vectors")
    assert verbs(one) == trained("llm-cf", tower="llm-cf")


def test_what_other_frameworks_and_recipes_read() -> None:
    best, kar, teacher = verbs(release("none", recipe="best")), verbs(release("kar")), verbs(release("kd"))
    assert "cot embed --items-only --encoder all-minilm-l6-v2" in best
    assert "cot generate --seed 5" not in best
    assert kar[4:6] == ["kar generate --seed 5", "kar embed --encoder all-minilm-l6-v2"]
    assert teacher[4:6] == ["recgen train --seed 5", "recgen score --seed 5"]


def test_it_is_made_without_going_live() -> None:
    one = release("none")
    command = rebuilding.making(one, None)
    asked = parse(command)
    assert (asked["ranker"], asked["retriever"], asked["promote"], asked["seed"]) == ("deepfm", "sasrec", False, 5)
    refreshed = parse(rebuilding.making(replace(one, refreshed=3), 9))
    assert (refreshed["number"], refreshed["as_of"], refreshed["promote"]) == (9, DAY, False)


def removed(*numbers: int) -> None:
    for number in numbers:
        gone.remember(DATASET, number)
        releases.storage.remove(releases.manifest.folder(DATASET, number))


def test_a_refreshed_one_takes_the_weights_that_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []
    monkeypatch.setattr(rebuilding, "_run", lambda command: called.append(command) or {"details": {"release": 1}})
    base = release("none")
    one = release("none", refreshed=base.number)
    removed(one.number)
    rebuilding.rebuild(DATASET, Known(known_until(one), one.number))
    assert called[-1] == f"llmcf release refresh {PLACE} --release {base.number} --no-promote"
    assert not any("train" in command for command in called)
    removed(base.number)
    with pytest.raises(LlmcfError, match="had the weights of release 7, of which nothing is left"):
        rebuilding._base(replace(one, refreshed=7))


def test_the_weights_of_a_refreshed_one_are_made_anew_first(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []

    def run(command: str) -> dict[str, Any]:
        called.append(command)
        return {"details": {"release": release("none").number if command.startswith("llmcf export") else 3}}

    base = release("none")
    one = release("none", refreshed=base.number)
    removed(base.number, one.number)
    monkeypatch.setattr(rebuilding, "_run", run)
    rebuilding.rebuild(DATASET, Known(known_until(one), one.number))
    assert [command.split(" --")[0] for command in called if "features" not in command] == [
        "llmcf data prepare", "llmcf rank train", "llmcf retrieve train", "llmcf export",
        "llmcf data prepare", "llmcf release refresh",
    ]  # fmt: skip
    assert "--release 3 " in called[-1]


def test_one_of_all_there_was_names_no_day() -> None:
    one = release("none", as_of="latest")
    removed(one.number)
    with pytest.raises(LlmcfError, match="release 1 was made of latest"):
        rebuilding.rebuild(DATASET, Known(known_until(one), one.number))


def test_a_verb_that_fails_is_named(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(LlmcfError, match=r"`llmcf rank train --model bert` failed; mend what it says above and repeat"):
        rebuilding._run("llmcf rank train --model bert")
    assert "bert" in capfd.readouterr().err
