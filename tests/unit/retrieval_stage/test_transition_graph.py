"""The graph that a release keeps says what the offline evidence says."""

from pathlib import Path

import numpy as np
import pytest
import torch

from core.contracts import FIRST_ID, HISTORY, PAD, UNKNOWN
from retrieval_stage.controls import Transitions
from retrieval_stage.sequences import Sequences
from retrieval_stage.transition_graph import FILE, TransitionGraph
from tests import in_memory

ITEMS = 40
SEQUENCES = Sequences.of(in_memory.training_rows(users=30, items=ITEMS, length=12))
GRAPH = TransitionGraph.of(SEQUENCES, ITEMS + FIRST_ID)


def dense(graph: TransitionGraph, history_L: np.ndarray, day: int) -> np.ndarray:
    ids, strength = graph.after(history_L, day)
    assert (np.diff(ids) > 0).all(), "ascending"
    assert (strength > 0).all()
    found_V = np.zeros(ITEMS, dtype=np.float32)
    found_V[ids - FIRST_ID] = strength
    return found_V


def test_it_is_the_evidence_that_runs_are_measured_with(tmp_path: Path) -> None:
    GRAPH.save(tmp_path / FILE)
    index_B = torch.arange(len(SEQUENCES))  # every length of history, every day
    expected_BV = Transitions(SEQUENCES, ITEMS)(index_B).numpy()
    for graph in (GRAPH, TransitionGraph.load(tmp_path / FILE)):
        rows = zip(SEQUENCES.history_NL.numpy(), SEQUENCES.day_N.tolist(), strict=True)
        found_BV = np.array([dense(graph, history_L, day) for history_L, day in rows])
        np.testing.assert_allclose(found_BV, expected_BV, rtol=1e-5, atol=1e-7)
    assert (found_BV > 0).any()


def test_steps_of_the_day_itself_and_of_other_splits_do_not_count() -> None:
    world = {2: [(2, 1, "train"), (3, 5, "train"), (4, 6, "valid"), (5, 7, "test")]}
    graph = TransitionGraph.of(in_memory.sequences(world), 8)
    history_L = np.array([PAD] * (HISTORY - 1) + [2])
    assert [len(graph.after(history_L, day)[0]) for day in (5, 6, 900)] == [0, 1, 1]
    assert graph.after(history_L, 6)[0].tolist() == [3]
    assert len(graph.after(np.array([PAD, 3]), 900)[0]) == 0


@pytest.mark.parametrize("last", [PAD, UNKNOWN, ITEMS + FIRST_ID, 10**6])
def test_what_it_does_not_know_is_followed_by_nothing(last: int) -> None:
    assert len(GRAPH.after(np.array([PAD, last]), 99)[0]) == 0


def test_one_without_steps_finds_nothing() -> None:
    graph = TransitionGraph.of(in_memory.sequences({2: [(2, 1, "train")]}), 5)
    assert len(graph.after(np.array([PAD, 2]), 9)[0]) == 0
