"""RecGen's samples: what is trained on, where the loss falls, what a bad file is answered with."""

import json
from pathlib import Path

import pytest

from core.data import tables
from core.errors import UsageError
from core.settings import Workspace
from llm import prompts, recgen, recgen_worker
from tests.tiny_llama import tiny_tokenizer


def config(**changes: object) -> recgen.RecGenConfig:
    return recgen.RecGenConfig(**{"recipe": "strict", "seed": 1, "steps": 5, "batch": 4, **changes})  # pyright: ignore[reportArgumentType]


def test_the_mix_is_seeded_and_keeps_the_share(tiny: Workspace) -> None:
    samples, sources = recgen.mix(tiny, config(), recgen.OWN_INSTRUCTIONS, tiny_tokenizer())
    assert len(samples) == 20
    assert sources["llmcf"]["rows"] == 10
    assert sources[tiny.dataset]["rows"] == 10
    assert samples == recgen.mix(tiny, config(), recgen.OWN_INSTRUCTIONS, tiny_tokenizer())[0]
    assert samples != recgen.mix(tiny, config(seed=2), recgen.OWN_INSTRUCTIONS, tiny_tokenizer())[0]
    assert {s["answer"] for s in samples if "Answer Yes or No" in s["messages"][-1]["content"]} == {"Yes", "No"}


def test_a_recommendation_prompt_fits_with_its_instruction_and_target(tiny: Workspace) -> None:
    tokenizer = tiny_tokenizer()
    samples, _ = recgen.mix(tiny, config(steps=20, max_tokens=64), recgen.OWN_INSTRUCTIONS, tokenizer)
    asked = [s["messages"] for s in samples if s["messages"][-1]["content"].endswith("Answer Yes or No.")]
    assert len(asked) == 40
    lengths = [len(tokenizer(prompts.render(one, tokenizer))["input_ids"]) for one in asked]
    assert max(lengths) <= 60
    assert all("\nNew film: " in one[-1]["content"] for one in asked)


def test_only_training_rows_are_drawn(tiny: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    real = recgen.contexts

    def spy(ws: Workspace, rows):
        seen.extend(rows["row"].to_pylist())
        return real(ws, rows)

    monkeypatch.setattr(recgen, "contexts", spy)
    recgen.mix(tiny, config(steps=20), recgen.OWN_INSTRUCTIONS, tiny_tokenizer())
    split = dict(zip(tables.rows(tiny)["row"].to_pylist(), tables.rows(tiny)["split"].to_pylist(), strict=True))
    assert len(seen) == 40
    assert {split[row] for row in seen} == {"train"}


def test_the_loss_covers_the_response_only() -> None:
    tokenizer = tiny_tokenizer()
    sample = {"messages": [{"role": "user", "content": "is rain wet"}], "answer": "yes"}
    ids, labels = recgen_worker.encode(tokenizer, sample, limit=64)
    answer = tokenizer("yes", add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
    assert len(ids) == len(labels)
    assert [label for label in labels if label != recgen_worker.IGNORED] == answer
    assert ids[-len(answer) :] == answer


def test_a_long_prompt_loses_its_middle_not_its_ends() -> None:
    tokenizer = tiny_tokenizer()
    words = "is " + "rain " * 200 + "wet"
    ids, labels = recgen_worker.encode(
        tokenizer, {"messages": [{"role": "user", "content": words}], "answer": "yes"}, 32
    )
    whole = tokenizer.apply_chat_template(
        [{"role": "user", "content": words}], tokenize=False, add_generation_prompt=True
    )
    prompt = tokenizer(whole, add_special_tokens=False)["input_ids"]
    assert len(ids) == 32
    assert ids[:5] == prompt[:5]
    kept = labels.count(recgen_worker.IGNORED)
    assert ids[kept - 5 : kept] == prompt[-5:]


def test_processes_share_a_global_batch_without_overlap() -> None:
    examples = [([i], [i]) for i in range(10)]
    parts = [[ids for batch in recgen_worker.batches(examples, 2, rank, 2) for ids, _ in batch] for rank in (0, 1)]
    assert parts == [[[0], [1], [4], [5]], [[2], [3], [6], [7]]]


def test_cosine_warms_up_and_ends_at_zero() -> None:
    factor = recgen_worker.cosine(steps=10, warmup=2)
    assert factor(0) == pytest.approx(1 / 3)
    assert factor(2) == pytest.approx(1)
    assert factor(6) == pytest.approx(0.5)
    assert factor(10) == pytest.approx(0, abs=1e-9)


def test_our_own_instructions_are_readable_and_varied() -> None:
    entries = recgen.read_instructions(recgen.OWN_INSTRUCTIONS)
    assert len(entries) >= 40
    assert len({entry["messages"][0]["content"] for entry in entries}) == len(entries)


@pytest.mark.parametrize("line", ["{", "[]", '{"instruction": "x"}', '"text"'])
def test_a_bad_line_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "general.jsonl"
    path.write_text(json.dumps({"source": "a", "instruction": "b", "output": "c"}) + "\n" + line + "\n")
    with pytest.raises(UsageError, match=r"general\.jsonl, line 2"):
        recgen.read_instructions(path)
