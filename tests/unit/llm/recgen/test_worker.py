"""How samples become batches, and the pace of learning."""

import pytest

from llm.recgen import worker
from llm.recgen.loss import IGNORED, PADDING
from tests.tiny_llama import tiny_tokenizer

PAIR = {"text": "is rain\n", "branches": [["wet", "yes"], ["a film", "no the"]]}


def test_a_long_prompt_loses_its_middle_not_its_ends() -> None:
    tokenizer = tiny_tokenizer()
    sample = {"text": "is " + "rain " * 200 + "wet", "branches": [["", "yes"]]}
    one = worker.encode(tokenizer, sample, 32)
    prompt = tokenizer(sample["text"])["input_ids"]
    kept = one["labels"].count(IGNORED)
    assert len(one["input_ids"]) == 32
    assert one["input_ids"][:5] == prompt[:5]
    assert one["input_ids"][kept - 5 : kept] == prompt[-5:]


def test_samples_of_like_length_share_a_batch() -> None:
    lengths = [100, 1, 101, 2, 102, 3, 103, 4, 50]
    order = worker.bucketed(lengths, 2, seed=1)
    assert sorted(order) == list(range(9))
    pairs = [sorted(lengths[place] for place in order[at : at + 2]) for at in range(0, 8, 2)]
    assert sorted(pairs) == [[1, 2], [3, 4], [50, 100], [101, 102]]
    assert order != worker.bucketed(lengths, 2, seed=2) or order != worker.bucketed(lengths, 2, seed=3)


def test_padding_belongs_to_no_branch() -> None:
    tokenizer = tiny_tokenizer()
    short = worker.encode(tokenizer, {"text": "is", "branches": [["", "yes"]]}, 64)
    batch = worker.collate([short, worker.encode(tokenizer, PAIR, 64)], 1)
    assert batch["branch"][0, 3:].tolist() == [PADDING] * 7
    assert batch["labels"][0, 3:].eq(IGNORED).all()


def test_cosine_warms_up_and_ends_at_zero() -> None:
    factor = worker.cosine(steps=10, warmup=2)
    assert factor(0) == pytest.approx(1 / 3)
    assert factor(2) == pytest.approx(1)
    assert factor(6) == pytest.approx(0.5)
    assert factor(10) == pytest.approx(0, abs=1e-9)
