"""Where the loss falls, and what noise adds to it."""

from pathlib import Path

import pytest
import torch

from llm.recgen import worker
from llm.recgen.loss import IGNORED, ResponseLoss, visible
from tests.tiny_llama import tiny_tokenizer, write

PAIR = {"text": "is rain\n", "branches": [["wet", "yes"], ["a film", "no the"]]}


def test_the_loss_covers_the_responses_only_and_branches_do_not_see_each_other() -> None:
    tokenizer = tiny_tokenizer()
    one = worker.encode(tokenizer, PAIR, limit=64)
    answers = [[*tokenizer(answer)["input_ids"], tokenizer.eos_token_id] for answer in ("yes", "no the")]
    assert [label for label in one["labels"] if label != IGNORED] == answers[0] + answers[1]
    assert one["branch"] == [0] * 2 + [1] * 3 + [2] * 5
    assert one["position_ids"] == [0, 1, 2, 3, 4, 2, 3, 4, 5, 6]
    assert sum(one["weights"]) == pytest.approx(2)
    seen = visible(torch.tensor([one["branch"]]))[0, 0]
    assert seen[9].tolist() == [True, True, False, False, False, True, True, True, True, True]


def test_two_branches_cost_what_two_samples_cost(tmp_path: Path) -> None:
    """The slow twin: each branch as a sample of its own gives the same loss, padding or not."""
    from transformers import AutoModelForCausalLM

    tokenizer = tiny_tokenizer()
    loss = ResponseLoss(AutoModelForCausalLM.from_pretrained(write(tmp_path)))
    apart = [{**PAIR, "branches": [branch]} for branch in PAIR["branches"]]
    encoded = [worker.encode(tokenizer, sample, 64) for sample in (PAIR, *apart)]
    together, first, second = (loss(**worker.collate([one], 1), seed=1).item() for one in encoded)
    padded = loss(**worker.collate(encoded[1:], 1), seed=1).item()
    assert together == pytest.approx(first + second, rel=1e-5)
    assert padded == pytest.approx((first + second) / 2, rel=1e-5)


def test_noise_and_consistency_change_the_loss_by_their_seed_alone(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(write(tmp_path))
    batch = worker.collate([worker.encode(tiny_tokenizer(), PAIR, 64)], 1)
    plain = float(ResponseLoss(model)(**batch, seed=1))
    noisy = ResponseLoss(model, noise=5.0)
    assert float(noisy(**batch, seed=1)) == float(noisy(**batch, seed=1)) != float(noisy(**batch, seed=2))
    assert float(noisy(**batch, seed=1)) != plain
    consistent = float(ResponseLoss(model, consistency=1e6)(**batch, seed=1))
    assert consistent > plain  # the divergence of two answers is never negative
