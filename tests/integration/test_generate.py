"""`cot generate` over a small world with an engine that can be killed: nothing twice, nothing lost, no labels."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from core import schemas, settings, storage
from core.errors import LlmcfError, UsageError
from core.settings import Workspace
from llm import generate as stage
from llm.contexts import training_split
from llm.engines import Generation
from tests.tiny_llama import write

pytestmark = pytest.mark.integration


class Parrot:
    """Answers every prompt with its own length, newest first, and dies after `lives` texts."""

    name = "openvino"

    def __init__(self, lives: int = 1_000_000) -> None:
        self.lives = lives
        self.prompts: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def generate(self, prompts: Sequence[str], *, max_new_tokens: int, seed: int) -> Iterator[Generation]:
        for index in reversed(range(len(prompts))):
            if self.lives == 0:
                raise LlmcfError("the engine died")
            self.lives -= 1
            self.prompts.append(prompts[index])
            yield Generation(index=index, text=f" {len(prompts[index])} letters.", tokens=3, finish="stop")


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


def run(ws: Workspace, model: Path, parrot: Parrot, limit: int = 20, recipe: str = "strict", seed: int = 1):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage.engines, "open_engine", lambda name, path, sampling: parrot)
        return stage.generate(ws, engine="openvino", model=str(model), limit=limit, recipe=recipe, seed=seed)


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
    assert all(row["text"].endswith(" letters.") and "will find in" in row["text"] for row in made)
    assert run(place, model, Parrot()).skipped


def test_a_killed_run_loses_nothing_and_a_second_completes_it(place: Workspace, model: Path) -> None:
    with pytest.raises(LlmcfError, match="the engine died"):
        run(place, model, Parrot(lives=7))
    assert not place.path("cot", "texts").exists()
    second = Parrot()
    result = run(place, model, second)
    assert (result.details["fresh"], result.details["reused"]) == (13, 7)
    assert len(second.prompts) == 13


def test_a_larger_sample_keeps_the_texts_of_the_smaller(place: Workspace, model: Path) -> None:
    run(place, model, Parrot())
    small = {row["row"]: row["text"] for row in texts(place)}
    more = Parrot()
    result = run(place, model, more, limit=30)
    assert (result.details["fresh"], result.details["reused"]) == (10, 20)
    assert len(more.prompts) == 10
    assert small.items() <= {row["row"]: row["text"] for row in texts(place)}.items()


def test_only_the_paper_recipe_tells_the_label(place: Workspace, model: Path) -> None:
    for recipe, told in (("strict", False), ("best", False), ("paper", True)):
        parrot = Parrot()
        run(place, model, parrot, recipe=recipe, seed=3)
        stated = ["The person liked" in p or "The person did not like" in p for p in parrot.prompts]
        assert all(stated) if told else not any(stated)
        if recipe == "strict":  # `best` asks the same questions: nothing is generated twice
            assert len(parrot.prompts) == 20
        if recipe == "best":
            assert parrot.prompts == []


def test_another_seed_asks_other_rows(place: Workspace, model: Path) -> None:
    run(place, model, Parrot(), seed=1)
    one = {row["row"] for row in texts(place)}
    run(place, model, Parrot(), seed=2)
    assert one != {row["row"] for row in texts(place)}


def test_wrong_requests_are_answered_before_any_work(place: Workspace, model: Path) -> None:
    for change, says in (
        ({"engine": "gpt"}, "choose one of: vllm, openvino, transformers"),
        ({"recipe": "lax"}, "strict, paper, best"),
        ({"limit": 0}, "--limit 0"),
        ({"max_new_tokens": 0}, "--max-new-tokens 0"),
        ({"model": "smollm"}, "unknown llm 'smollm'"),
    ):
        with pytest.raises(UsageError, match=says):
            stage.generate(place, **({"engine": "openvino", "model": str(model)} | change))  # pyright: ignore[reportArgumentType]
    with pytest.raises(LlmcfError, match=r"llmcf recgen train .*--recipe strict --seed 0"):
        stage.generate(place, engine="openvino")


def test_an_estimate_counts_tokens(place: Workspace) -> None:
    small = stage.estimate_generate(place, engine="openvino", limit=10)
    large = stage.estimate_generate(place, engine="openvino", limit=200)
    slow = stage.estimate_generate(place, engine="vllm", limit=200)
    assert small.seconds < large.seconds < slow.seconds
