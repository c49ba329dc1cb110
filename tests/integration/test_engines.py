"""Each engine really writes: greedy, OpenVINO and vLLM begin as the transformers reference does."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from core import environments
from core.errors import LlmcfError
from llm import prompts
from llm.engines import Generation, Sampling, open_engine

pytestmark = pytest.mark.integration
GREEDY = Sampling(temperature=0.0, repetition_penalty=1.0, min_new_tokens=0)
QUESTIONS = ["What is the capital of France?", "Name three colours.", "What is two plus two?"]


def built(name: str) -> str:
    try:
        environments.python(name)
    except LlmcfError as error:
        pytest.skip(str(error))
    return name


@pytest.fixture(scope="module")
def asked(language_model: Path) -> list[str]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(language_model)
    return [prompts.render([{"role": "user", "content": question}], tokenizer) for question in QUESTIONS]


def write(name: str, model: Path, asked: list[str], sampling: Sampling, seed: int = 1) -> list[Generation]:
    with open_engine(name, model, sampling) as engine:
        return sorted(engine.generate(asked, max_new_tokens=12, seed=seed), key=lambda g: g.index)


@pytest.fixture(scope="module")
def reference(language_model: Path, asked: list[str]) -> Iterator[list[Generation]]:
    yield write("transformers", language_model, asked, GREEDY)


def test_the_reference_knows_something(reference: list[Generation]) -> None:
    assert "Paris" in reference[0].text
    assert [g.index for g in reference] == [0, 1, 2]
    assert all(g.finish == ("length" if g.tokens == 12 else "stop") for g in reference)


@pytest.mark.parametrize("name", ["openvino", "vllm"])
def test_greedy_text_is_the_references(
    name: str, language_model: Path, asked: list[str], reference: list[Generation]
) -> None:
    made = write(built(name), language_model, asked, GREEDY)
    assert [g.index for g in made] == [0, 1, 2]
    assert made[0].text.strip() == reference[0].text.strip()
    assert made[0].finish == reference[0].finish == "stop"
    alike = sum(a.text[:12] == b.text[:12] for a, b in zip(made, reference, strict=True))
    assert alike >= 2  # eight-bit weights may turn a word


def test_openvino_draws_the_same_text_from_the_same_seed(language_model: Path, asked: list[str]) -> None:
    with open_engine(built("openvino"), language_model, Sampling(min_new_tokens=8)) as engine:

        def draw(prompts: list[str], seed: int) -> dict[str, str]:
            return {prompts[g.index]: g.text for g in engine.generate(prompts, max_new_tokens=8, seed=seed)}

        once = draw(asked[:1], 1)
        assert draw(asked[:1], 1) == once
        assert any(draw(asked[:1], seed) != once for seed in range(2, 6))


def test_a_model_that_cannot_be_loaded_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"not weights")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(LlmcfError, match="OpenVINO could not convert"), open_engine(built("openvino"), tmp_path):
        pass
