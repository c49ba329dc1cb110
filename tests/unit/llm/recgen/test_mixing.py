"""What the language model is tuned on, and what a bad file is answered with."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from core.data import tables
from core.errors import UsageError
from core.settings import Workspace
from llm.recgen import mixing
from llm.recgen.recipes import Mix
from tests.tiny_llama import tiny_tokenizer


def mixed(ws: Workspace, tokens: int = 256, **changes: Any) -> tuple[list[mixing.Sample], pa.Table, dict[str, Any]]:
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
