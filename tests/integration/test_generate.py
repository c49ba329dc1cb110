"""`cot generate` over a small world with an engine that can be killed: nothing twice, nothing lost, no labels."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from core import settings, storage
from core.errors import LlmcfError, UsageError
from core.settings import Workspace
from llm.contexts import Context, training_split
from llm.cot import generate as stage
from llm.cot import judge
from llm.texts.queue import Part
from llm.texts.recipes import Budget
from tests.parrot import Parrot, config, run, texts

pytestmark = pytest.mark.integration


def test_a_uniform_sample_of_training_rows_gets_its_texts(place: Workspace, model: Path) -> None:
    result = run(place, model, Parrot())
    made = texts(place)
    train = set(training_split(place)["row"].to_pylist())
    rows = [row["row"] for row in made]
    assert result.details["fresh"] == len(made) == 20
    assert rows == sorted(set(rows))
    assert set(rows) <= train
    assert {row % 2 for row in rows} == {0, 1}  # positives and negatives
    assert all(row["text"].count("words about") == 4 and "For variety, it adds " in row["text"] for row in made)
    assert all(row["flags"] == [] for row in made)
    assert run(place, model, Parrot()).skipped


def test_parts_follow_each_other_and_know_what_came_before(place: Workspace, model: Path) -> None:
    parrot = Parrot()
    run(place, model, parrot, limit=1)
    first, second, third, fourth = (one.prompt for one in parrot.asked)
    assert second.startswith(first + " with ")
    assert fourth.startswith(third)
    assert fourth.endswith("For variety, it adds")


def test_a_killed_run_loses_nothing_and_a_second_completes_it(place: Workspace, model: Path) -> None:
    with pytest.raises(LlmcfError, match="the engine died"):
        run(place, model, Parrot(lives=30))  # a text has four parts
    assert not place.path("cot", "texts").exists()
    second = Parrot()
    result = run(place, model, second)
    assert result.details["fresh"] + result.details["reused"] == 20
    assert result.details["reused"] >= 1
    assert len(second.begun) == result.details["fresh"]


def test_a_budget_stops_early_and_the_next_run_goes_on(place: Workspace, model: Path) -> None:
    first = run(place, model, Parrot(), Budget(rows=6))
    assert (first.details["texts"], first.details["dropped"]) == (6, {"unwritten": 14})
    second = run(place, model, Parrot(), Budget(tokens=24))  # two texts, and what is under way by then
    assert 8 <= second.details["texts"] < 20
    assert run(place, model, Parrot()).details["texts"] == 20


def test_parts_and_the_run_after_them_give_what_one_run_gives(place: Workspace, model: Path) -> None:
    folder, cache = place.path("cot", "texts"), settings.home() / "cot-cache"
    results = [run(place, model, Parrot(), part=Part(index, 3)) for index in (2, 0, 1)]
    assert sum(result.details["fresh"] for result in results) == 20
    assert all(0 < result.details["fresh"] < 20 and result.details["unwritten"] == 0 for result in results)
    assert not folder.exists(), "a part puts no table together"
    assert run(place, model, Parrot(lives=0)).details["fresh"] == 0
    by_parts = storage.read_json(folder / "step.json")
    assert run(place, model, Parrot(lives=0), part=Part(0, 3)).skipped
    shutil.rmtree(folder)
    shutil.rmtree(cache)
    run(place, model, Parrot())
    at_once = storage.read_json(folder / "step.json")
    assert (at_once["key"], at_once["content"]) == (by_parts["key"], by_parts["content"])


def test_a_part_that_stops_early_says_what_it_has_left_and_the_run_after_it_writes_that(
    place: Workspace, model: Path
) -> None:
    early = run(place, model, Parrot(), Budget(rows=4), part=Part(0, 2))
    assert early.details["fresh"] == 4
    assert early.details["unwritten"] > 0
    assert run(place, model, Parrot()).details["fresh"] == 16


def test_a_faulty_text_is_asked_for_again_and_dropped_at_last(place: Workspace, model: Path) -> None:
    parrot = Parrot(say=" the the the the the the the. ")
    with pytest.raises(LlmcfError, match="not one usable text"):
        run(place, model, parrot, attempts=3)
    assert len(parrot.begun) == 60
    assert len({one.seed for one in parrot.asked}) > 60


def test_a_larger_sample_keeps_the_texts_of_the_smaller(place: Workspace, model: Path) -> None:
    run(place, model, Parrot())
    small = {row["row"]: row["text"] for row in texts(place)}
    more = Parrot()
    result = run(place, model, more, limit=30)
    assert (result.details["fresh"], result.details["reused"]) == (10, 20)
    assert len(more.begun) == 10
    assert small.items() <= {row["row"]: row["text"] for row in texts(place)}.items()


def test_only_the_paper_recipe_tells_the_label(place: Workspace, model: Path) -> None:
    for recipe, told in (("strict", False), ("best", False), ("paper", True)):
        parrot = Parrot()
        run(place, model, parrot, recipe=recipe, seed=3)
        stated = ["The person liked" in p or "The person did not like" in p for p in parrot.begun]
        assert all(stated) if told else not any(stated)
        if recipe == "strict":  # `best` asks the same questions: nothing is generated twice
            assert len(parrot.begun) == 20
        if recipe == "best":
            assert parrot.begun == []


@pytest.mark.parametrize(("recipe", "blind"), [("strict", True), ("best", True), ("paper", False)])
def test_only_the_paper_recipe_chooses_by_the_label(
    place: Workspace, model: Path, monkeypatch: pytest.MonkeyPatch, recipe: str, blind: bool
) -> None:
    def scores(written: Sequence[str], known: Sequence[Context], encode: judge.Encode) -> dict[str, np.ndarray]:
        """Of two texts the first by consistency, the second by all that is blind to the label."""
        first = np.arange(len(written)) % 2 == 0
        return {part: np.where(first, 0.0, 0.1) for part in judge.BLIND} | {"consistency": np.where(first, 1.0, 0.0)}

    monkeypatch.setattr("llm.texts.encoder.Encoder", lambda name: None)
    monkeypatch.setattr(judge, "scores", scores)
    size = {"recipe": recipe, "candidates": 2, "limit": 6}
    run(place, model, Parrot(), **size)
    asked = stage.job(place, config(model, **size)).ask(model)
    assert [row["prompt_hash"] for row in texts(place)] == [one.names[1 if blind else 0] for one in asked]


def test_another_seed_asks_other_rows(place: Workspace, model: Path) -> None:
    run(place, model, Parrot(), seed=1)
    one = {row["row"] for row in texts(place)}
    run(place, model, Parrot(), seed=2)
    assert one != {row["row"] for row in texts(place)}


def test_wrong_requests_are_answered_before_any_work(place: Workspace, model: Path) -> None:
    for change, says in (
        ({"engine": "gpt"}, "choose one of: vllm, openvino, transformers, server"),
        ({"recipe": "lax"}, "strict, paper, best"),
        ({"limit": 0}, "--limit 0"),
        ({"part_tokens": 0}, "--part-tokens 0"),
        ({"style": "poem"}, "guided, led, free"),
        ({"selection": "best"}, "uniform, representative"),
        ({"model": "smollm"}, "unknown llm 'smollm'"),
    ):
        with pytest.raises(UsageError, match=says):
            stage.generate(place, config(model, **change))
    with pytest.raises(LlmcfError, match=r"llmcf recgen train .*--method recgen --seed 1"):
        stage.generate(place, config(model, model="recgen"))
    with pytest.raises(UsageError, match="--minutes 0"):
        Budget(minutes=0)


def test_an_estimate_counts_tokens(place: Workspace, model: Path) -> None:
    small, large, slow = (
        stage.estimate_generate(place, config(model, limit=limit, engine=engine))
        for limit, engine in ((10, "openvino"), (200, "openvino"), (200, "vllm"))
    )
    assert small.seconds < large.seconds < slow.seconds
