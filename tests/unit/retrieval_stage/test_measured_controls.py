"""Every control on the tiny workspace: lines of one shape, and what is left out says why."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from core import steps, storage
from core.contracts import FIRST_ID
from core.data import tables
from core.errors import LlmcfError, Missing
from core.settings import Workspace
from retrieval_stage import evaluation, measured_controls
from retrieval_stage.sequences import Sequences
from tests import in_memory

SEQUENCES = Sequences.of(in_memory.training_rows(users=20, items=30, length=8))


def test_without_text_vectors_the_controls_of_texts_are_left_out_with_their_remedy(own: Workspace) -> None:
    lines, left_out = measured_controls.measure(own)
    assert [line["name"] for line in lines] == ["popularity", "lately", "transitions"]
    assert set(left_out) == {"text", "graph+text"}
    for why in left_out.values():
        assert "llmcf cot embed --items-only --dataset movielens-100k --order shuffled-ties" in why


def test_lines_of_all_controls_have_one_shape(own: Workspace) -> None:
    rows = tables.training_rows(own)
    in_memory.write_cot_set(own, in_memory.example_set(rows, items=len(tables.items(own))))
    lines, left_out = measured_controls.measure(own)
    assert not left_out
    assert [line["name"] for line in lines] == list(measured_controls.NAMES)
    shapes = [json.loads(json.dumps(line, allow_nan=False)) for line in lines]
    assert len({tuple(line) for line in shapes}) == 1
    assert set(shapes[0]) == {
        *("name", "settings", "metrics", "intervals", "segments", "coverage", "mean_popularity", "seconds")
    }
    assert shapes[-1]["settings"]["text_weight"] in measured_controls.TEXT_WEIGHTS
    assert len({json.dumps(line["metrics"]) for line in shapes}) == len(shapes), "each is another"


def test_the_remedy_keeps_the_vectors_of_chains_of_thought(own: Workspace) -> None:
    """Embedding items alone would take them away."""
    in_memory.write_cot_set(own, in_memory.example_set(tables.training_rows(own), items=5), seed=1)
    vectors, why = measured_controls._item_vectors(own)
    assert vectors is None
    assert "llmcf cot embed --dataset" in why


def test_vectors_of_earlier_texts_are_no_measure_of_todays(own: Workspace) -> None:
    """A line names the texts that it is of: one measured on others would count as done."""
    in_memory.write_cot_set(own, in_memory.example_set(tables.training_rows(own), items=len(tables.items(own))), seed=2)
    stamp = own.cot("vectors") / steps.STAMP
    items = own.path("data", "items.parquet")
    storage.write_json(stamp, storage.read_json(stamp) | {"inputs": {steps.name_of(items): "as they were"}})
    vectors, why = measured_controls._item_vectors(own)
    assert vectors is None
    assert "was made before" in why


def test_missing_rows_name_the_verb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path))
    with pytest.raises(Missing, match="llmcf features join"):
        measured_controls.measure(Workspace("movielens-100k", "published"))


def test_an_empty_split_is_told(own: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = tables.training_rows(own)
    kept = rows.filter(np.asarray(rows["split"].to_numpy() != "valid"))
    monkeypatch.setattr(tables, "training_rows", lambda ws: kept)
    with pytest.raises(LlmcfError, match="no valid rows"):
        measured_controls.measure(own)


def test_the_weight_is_that_of_the_best_validation_rows_and_the_smaller_of_equals() -> None:
    right = torch.nn.functional.one_hot(SEQUENCES.item_N - FIRST_ID, 30).float()
    valid = SEQUENCES.split_N == 1
    helpful = torch.where(valid[:, None], right, 1 - right)  # right on validation rows and on no other
    scores = {
        4.0: lambda index: helpful[index],
        1.0: lambda index: 1 - helpful[index],
        2.0: lambda index: helpful[index],
    }
    assert measured_controls.tuned(scores, SEQUENCES) == 2.0


def test_the_weight_is_tuned_on_no_more_rows_than_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "_TUNED_ON", 7)
    asked: list[torch.Tensor] = []

    def score(index_B: torch.Tensor) -> torch.Tensor:
        asked.append(index_B)
        return torch.zeros(len(index_B), 30)

    measured_controls.tuned({1.0: score}, SEQUENCES)
    (index,) = asked
    assert 4 <= len(index) <= 7
    assert (SEQUENCES.split_N[index] == 1).all()
    assert len(SEQUENCES.user_N[index].unique()) == len(index)
