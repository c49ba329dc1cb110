"""`cot generate` over a small world with an engine that can be killed: nothing twice, nothing lost, no labels."""

import random
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from core import schemas, settings, storage
from core.errors import LlmcfError, UsageError
from core.settings import Workspace
from llm.contexts import training_split
from llm.cot import generate as stage
from llm.cot.writing import Budget
from llm.engines import Generation, Request
from tests.tiny_llama import write

pytestmark = pytest.mark.integration


_WORDS = """ambient basic candid dainty eager fancy gentle hollow icy jolly keen lively mellow noble olive plain quiet
robust simple tender urban vivid warm yellow zesty"""
WORDS = _WORDS.split()


class Parrot:
    """Says a sentence of its own about every prompt, newest first, and dies after `lives` parts."""

    name = "openvino"
    window = 8

    def __init__(self, lives: int = 1_000_000, say: str | None = None) -> None:
        self.lives, self.say = lives, say
        self.waiting: list[Request] = []
        self.asked: list[Request] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def submit(self, request: Request) -> None:
        self.waiting.append(request)

    def poll(self) -> Generation:
        if self.lives == 0:
            raise LlmcfError("the engine died")
        self.lives -= 1
        request = self.waiting.pop()
        self.asked.append(request)
        some = random.Random(request.prompt).sample(WORDS, 4)
        text = self.say or f" with {' '.join(some)} words about it. "
        return Generation(number=request.number, text=text, tokens=3, finish="stop")

    @property
    def begun(self) -> list[str]:
        """The prompts of first parts."""
        return [one.prompt for one in self.asked if one.prompt.endswith(("cares about", "looks for"))]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("tiny-llama"))


@pytest.fixture
def place(tiny: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """The small world seen from a home of the test's own: an empty cache."""
    for folder in ("data", "training"):
        target = tmp_path / tiny.root.relative_to(settings.home()) / folder
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(tiny.path(folder))
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path))
    return tiny


def config(path: Path, **changes: Any) -> stage.GenerateConfig:
    return stage.GenerateConfig(**{"engine": "openvino", "model": str(path), "limit": 20, "seed": 1, **changes})


def run(ws: Workspace, model: Path, parrot: Parrot, limits: Budget | None = None, **changes: Any):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage.engines, "open_engine", lambda name, path, sampling: parrot)
        return stage.generate(ws, config(model, **changes), limits)


def texts(ws: Workspace) -> list[dict]:
    table = storage.read_table(ws.path("cot", "texts", "texts.parquet"), schemas.COT_TEXTS, "llmcf cot generate")
    return table.to_pylist()


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
