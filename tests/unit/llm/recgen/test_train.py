"""What the language model is tuned on, where the loss falls, what a bad file is answered with."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from core.data import tables
from core.errors import UsageError
from core.settings import Workspace
from llm import methods
from llm.recgen import mixing, worker
from llm.recgen.loss import IGNORED, PADDING, ResponseLoss, visible
from llm.recgen.recipes import Mix, TuningConfig
from tests.tiny_llama import tiny_tokenizer, write


def mixed(ws: Workspace, tokens: int = 256, **changes: Any):
    mix = Mix(**{"seed": 1, "rows": 40, "general_share": 0.5, **changes})
    return mixing.mixed(ws, mix, mixing.OWN_INSTRUCTIONS, tiny_tokenizer(), tokens)


def test_the_mix_is_seeded_and_keeps_the_share(tiny: Workspace) -> None:
    samples, rows, sources = mixed(tiny)
    assert (sources["llmcf"]["rows"], sources[tiny.dataset]["rows"], rows.num_rows) == (40, 40, 40)
    assert samples == mixed(tiny)[0]
    assert samples != mixed(tiny, seed=2)[0]
    assert {sources[name]["licence"] for name in sources} == {"Apache-2.0", "see NOTICE"}


def test_a_positive_and_its_negative_share_a_sample(tiny: Workspace) -> None:
    samples, rows, _ = mixed(tiny, general_share=0)
    assert len(samples) == 20
    assert {row % 2 for row in rows["row"].to_pylist()} == {0, 1}
    for sample in samples:
        assert sorted(answer for _, answer in sample["branches"]) == ["No", "Yes"]
        assert all(tail.startswith("New film: ") for tail, _ in sample["branches"])
        assert sample["text"].endswith("\n")


def test_half_is_half_of_full_with_the_same_general_data(tiny: Workspace) -> None:
    full, half = (mixed(tiny, share=share) for share in (1.0, 0.5))
    assert set(half[1]["row"].to_pylist()) < set(full[1]["row"].to_pylist())
    assert half[1].num_rows == 20
    assert half[2]["llmcf"] == full[2]["llmcf"]


def test_general_data_comes_where_it_is_asked_for(tiny: Workspace) -> None:
    for order, first in (("general-first", "llmcf"), ("general-last", tiny.dataset)):
        names = [sample["source"] for sample in mixed(tiny, order=order)[0]]
        assert names[0] == first
        assert sum(a != b for a, b in pairwise(names)) == 1


def test_by_source_takes_each_source_alike(tmp_path: Path) -> None:
    path = tmp_path / "general.jsonl"
    lines = [{"source": "a" if n < 90 else "b", "instruction": f"say {n}", "output": "x"} for n in range(100)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    mix = Mix(seed=1, rows=10, sampling="by-source")
    chosen = [one["source"] for one in mixing.instructions(path, tiny_tokenizer(), 40, mix)]
    assert chosen.count("b") == 20


def test_instructions_kept_for_evaluation_are_never_trained_on() -> None:
    every = mixing.read_instructions(mixing.OWN_INSTRUCTIONS)
    kept = [one["messages"][0]["content"] for one in every if mixing.held_out(one)]
    seen = mixing.instructions(mixing.OWN_INSTRUCTIONS, tiny_tokenizer(), 3 * len(every), Mix(seed=1, rows=2))
    assert kept
    assert not any(question in sample["text"] for sample in seen for question in kept)


def test_a_recommendation_prompt_fits_with_its_instruction_and_target(tiny: Workspace) -> None:
    tokenizer = tiny_tokenizer()
    samples, _, _ = mixed(tiny, tokens=64, rows=200, general_share=0)
    for sample in samples:
        for tail, _ in sample["branches"]:
            assert len(tokenizer(sample["text"] + tail)["input_ids"]) <= 60
            assert "New film: " in tail


def test_only_training_rows_are_drawn(tiny: Workspace) -> None:
    _, rows, _ = mixed(tiny, rows=None, general_share=0)
    split = dict(zip(tables.rows(tiny)["row"].to_pylist(), tables.rows(tiny)["split"].to_pylist(), strict=True))
    assert {split[row] for row in rows["row"].to_pylist()} == {"train"}
    assert rows.num_rows == sum(name == "train" for name in split.values())


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
    together, first, second = (float(loss(**worker.collate([one], 1), seed=1)) for one in encoded)
    padded = float(loss(**worker.collate(encoded[1:], 1), seed=1))
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


@pytest.mark.parametrize(
    ("name", "says"),
    [("fine", "unknown method 'fine'; choose one of: base, half, full"), ("wise-ft-2", "not a number between 0 and 1")],
)
def test_an_unknown_method_is_answered_with_the_choices(name: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        methods.method(name)


def test_figure_4_has_eleven_methods() -> None:
    assert len(methods.METHODS) == 11
    assert methods.method("wise-ft-0.45").alpha == 0.45
    assert [name for name in methods.METHODS if not methods.METHODS[name].trains] == [
        "base", "wise-ft-0.3", "wise-ft-0.6", "wise-ft-0.9",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "wrong", [{"method": "x"}, {"batch": 0}, {"zero_stage": 4}, {"max_tokens": 8}, {"processes": 0}]
)
def test_a_wrong_configuration_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        TuningConfig(**{"method": "full", "seed": 1, **wrong})


def test_cosine_warms_up_and_ends_at_zero() -> None:
    factor = worker.cosine(steps=10, warmup=2)
    assert factor(0) == pytest.approx(1 / 3)
    assert factor(2) == pytest.approx(1)
    assert factor(6) == pytest.approx(0.5)
    assert factor(10) == pytest.approx(0, abs=1e-9)


def test_our_own_instructions_are_readable_and_varied() -> None:
    entries = mixing.read_instructions(mixing.OWN_INSTRUCTIONS)
    assert len(entries) >= 40
    assert len({entry["messages"][0]["content"] for entry in entries}) == len(entries)


@pytest.mark.parametrize("line", ["{", "[]", '{"instruction": "x"}', '"text"'])
def test_a_bad_line_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "general.jsonl"
    path.write_text(json.dumps({"source": "a", "instruction": "b", "output": "c"}) + "\n" + line + "\n")
    with pytest.raises(UsageError, match=r"general\.jsonl, line 2"):
        mixing.read_instructions(path)
