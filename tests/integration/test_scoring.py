"""The fast scores are those of the slow way, whatever prompts share, and vLLM's are the reference's."""

from pathlib import Path

import numpy as np
import pytest

from core import environments
from core.errors import LlmcfError, UsageError
from core.settings import Workspace
from llm import contexts
from llm.engines import open_engine
from llm.recgen import evaluate, mixing, scoring
from llm.recgen.recipes import Size
from llm.recgen.scoring import YES_NO, Scorer
from tests.other_scores import by_engine, naive
from tests.tiny_llama import write

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("tiny-llama"))


def test_shared_starts_and_branches_change_no_score(tiny_model: Path) -> None:
    scorer = Scorer(tiny_model)
    shared = ["is rain wet\n", "is rain\n", "is rain wet the film new\n"]
    tails = [["yes no", "the film"], ["a person"], ["rain", "wet wet wet new", "no"]]
    texts = [head + tail for head, rest in zip(shared, tails, strict=True) for tail in rest]
    place = iter(range(6))
    samples = [(head, [(next(place), tail) for tail in rest]) for head, rest in zip(shared, tails, strict=True)]
    slow = naive(scorer, texts, ("yes", "no", "film"), batch=4)
    for start, rest in (("", samples), ("is ", [(head[3:], tail) for head, tail in samples])):
        fast = scorer.choices(rest, 6, ("yes", "no", "film"), start)
        np.testing.assert_allclose(fast, slow, atol=1e-5)
    np.testing.assert_allclose(scorer.choices(samples, 6, ("yes", "no", "film")), slow, atol=1e-5)


def test_the_common_start_ends_with_a_line() -> None:
    prompts = [("a\nb one\n", [(0, "x")]), ("a\nb two\n", [(1, "y"), (2, "z")])]
    start, rest = scoring.common_start(prompts)
    assert start == "a\n"
    assert rest == [("b one\n", [(0, "x")]), ("b two\n", [(1, "y"), (2, "z")])]


def test_choices_that_begin_alike_are_refused(tiny_model: Path) -> None:
    with pytest.raises(UsageError, match="cannot tell yes, yes no apart"):
        Scorer(tiny_model).choices([("", [(0, "rain")])], 1, ("yes", "yes no"))


@pytest.fixture(scope="module")
def asked(tiny: Workspace, language_model: Path):
    """Real prompts of the small world: texts as wholes, and as what pairs share."""
    scorer = Scorer(language_model)
    rows = contexts.training_split(tiny).slice(0, 6)
    texts = mixing.task_texts(tiny, rows, scorer.tokenizer, 256)
    return scorer, texts, mixing.branched(texts, rows)


def test_p_yes_of_the_real_model_is_that_of_the_slow_way(asked) -> None:
    scorer, texts, samples = asked
    fast, slow = scorer.p_yes(samples, len(texts)), scoring.p_yes(naive(scorer, texts, YES_NO))
    np.testing.assert_allclose(fast, slow, atol=1e-4)
    assert np.ptp(slow) > 0


def test_vllm_gives_the_references_scores(asked, language_model: Path) -> None:
    scorer, texts, samples = asked
    try:
        environments.python("vllm")
    except LlmcfError as error:
        pytest.skip(str(error))
    with open_engine("vllm", language_model) as engine:
        found = by_engine(engine, texts, YES_NO)
    np.testing.assert_allclose(np.exp(found).sum(axis=1), 1, atol=1e-4)
    np.testing.assert_allclose(scoring.p_yes(found), scorer.p_yes(samples, len(texts)), atol=2e-3)


def test_mmlu_is_read_5_shot_and_scored_by_its_letters(tiny_model: Path, tmp_path: Path, monkeypatch) -> None:
    folder = tmp_path / "data" / "mmlu"
    folder.mkdir(parents=True)
    line = '{{"subject": "{}", "question": "rain {}", "choices": ["wet", "new", "the", "a"], "answer": "{}"}}\n'
    (folder / "dev.jsonl").write_text("".join(line.format("law", n, "B") for n in range(5)))
    (folder / "test_8.jsonl").write_text("".join(line.format(s, n, "A") for s in ("law", "art") for n in range(4)))
    monkeypatch.setenv("LLMCF_SHARED", str(tmp_path))
    seen: list[tuple[str, list[str]]] = []

    def choices(self: Scorer, prompts, count: int, choices, start: str | None = None) -> np.ndarray:
        seen.append((start or "", [tail for _, [(_, tail)] in prompts]))
        return np.tile([1.0, 0, 0, 0], (count, 1))

    monkeypatch.setattr(Scorer, "choices", choices)
    correct, subject = evaluate.mmlu(Scorer(tiny_model), 3, seed=1)
    assert (correct, subject) == ([True] * 6, ["art"] * 3 + ["law"] * 3)
    assert seen[1][0].count("Answer: B\n\n") == 5
    assert "questions (with answers) about law" in seen[1][0]
    assert all(tail.endswith("D. a\nAnswer:") for tail in seen[1][1])


def test_missing_questions_are_named(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("LLMCF_SHARED", str(tmp_path))
    with pytest.raises(LlmcfError, match=r"lacks dev\.jsonl"):
        evaluate.mmlu_folder()


def test_a_small_model_is_evaluated_end_to_end(tiny: Workspace, tiny_model: Path, shared: Path) -> None:
    del shared  # MMLU is needed
    size = Size(pairs=5, questions=1, instructions=3, texts=2)
    found = evaluate.evaluate(tiny, tiny_model, size, seed=1)
    assert found.label == [1, 0] * 5
    assert all(0 < p < 1 for p in found.p_yes)
    assert len(set(found.subject)) == len(found.correct) == 57
    assert len(found.nats) == 3
    assert len(found.answers) == len(found.degenerate) == 2
    again = evaluate.evaluate(tiny, tiny_model, size, seed=1)
    assert again.p_yes == found.p_yes


@pytest.mark.parametrize(
    ("answer", "bad"), [("", True), ("a b " * 20, True), ("The capital of France is Paris.", False)]
)
def test_degenerate_texts_are_seen(answer: str, bad: bool) -> None:
    assert evaluate.degenerate(answer) is bad
