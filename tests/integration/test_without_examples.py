"""The price of the rung without examples, on a ranker that was trained for an epoch."""

import argparse

import numpy as np
import pytest
import torch

from benchmarks import without_examples
from core.data import tables
from core.settings import Workspace
from ict.examples import ExampleSet
from ranking import trainer
from tests.in_memory import item_vectors, write_cot_set

pytestmark = pytest.mark.integration


def test_a_ranker_is_scored_with_and_without(own: Workspace) -> None:
    rows = tables.training_rows(own)
    sample = torch.from_numpy(np.flatnonzero(rows["split"].to_numpy() == "train")[::5].copy())
    cot = torch.nn.functional.normalize(torch.randn(len(sample), 16), dim=-1)
    write_cot_set(own, ExampleSet.of(rows, sample, cot, item_vectors(items=tables.items(own).num_rows)), seed=5)
    trainer.train(own, model="deepfm", framework="llm-cf", recipe="strict", seed=1, epochs=1)
    asked = argparse.Namespace(dataset=own.dataset, order=own.order, model="deepfm", recipe="strict", seed=1, rows=None)
    figures, count = without_examples.compared(asked)
    assert count == (rows["split"].to_numpy() == "test").sum()
    assert list(figures) == ["LLM-CF, without examples", "LLM-CF"], "the plain backbone was not trained"
    bare, own_figures = figures.values()
    assert bare["gain"]["estimate"] == 0
    assert own_figures["gain"]["estimate"] == pytest.approx(
        own_figures["auc"]["estimate"] - bare["auc"]["estimate"], abs=1e-4
    )
    assert bare["auc"] != own_figures["auc"], "examples change scores"
    assert "over LLM-CF without examples" in without_examples.page(figures, count, "a command")
