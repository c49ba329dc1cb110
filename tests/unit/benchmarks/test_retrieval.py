"""What is measured is counted right, and the page tells of it."""

from dataclasses import replace

import pytest
import torch

from benchmarks import retrieval
from benchmarks.retrieval import Loop, Turn
from core.contracts import FIRST_ID
from core.settings import Workspace
from ict.neighbours import Neighbours
from retrieval_stage.inputs import TowerData
from retrieval_stage.recipes import resolve
from retrieval_stage.sequences import Sequences
from tests import in_memory

USERS, ITEMS = 6, 40


def loop(batch: int) -> Loop:
    rows = in_memory.training_rows(users=USERS, items=ITEMS, length=30)  # longer than a window: some targets come twice
    sequences = Sequences.of(rows)
    nothing = Neighbours(torch.zeros(len(sequences), 0, dtype=torch.int64), torch.zeros(len(sequences), 0))
    offered_V = torch.ones(ITEMS, dtype=torch.bool)
    config = resolve(model="sasrec", framework="none", recipe="strict", seed=1)
    data = TowerData(rows, sequences, nothing, None, users=USERS + FIRST_ID, offered_V=offered_V)
    return Loop(replace(config, width=16, batch=batch), data)


def test_an_epoch_counts_every_target_once() -> None:
    ours = loop(batch=4)
    trained = len(ours.sequences.of_split("train"))
    turn = ours.turn(ours.batches)
    assert ours.positions > trained
    assert turn.targets == pytest.approx(trained)
    assert turn.seconds > 0
    assert turn.rate == pytest.approx(trained / turn.seconds)


def test_turns_go_on_after_the_epoch_and_train() -> None:
    ours = loop(batch=8)
    before = [weight.detach().clone() for weight in ours.tower.parameters()]
    assert ours.turn(ours.batches + 2).targets > ours.turn(1).targets > 0
    assert any(not torch.equal(old, new) for old, new in zip(before, ours.tower.parameters(), strict=True))


def test_an_epoch_is_its_steps_and_a_validation() -> None:
    ours = loop(batch=4)
    epoch = ours.epoch(2)
    assert epoch["epoch"] == pytest.approx(ours.batches * epoch["step_ms"] / 1e3 + epoch["validation"])
    assert epoch["validation"] > 0


def test_ratios_are_taken_turn_by_turn() -> None:
    turns = [(Turn(10, 1, 2), Turn(1, 1, 2)), (Turn(30, 1, 2), Turn(10, 1, 2)), (Turn(40, 1, 2), Turn(2, 1, 1))]
    found = retrieval.ratios(turns)
    assert found == {"ours": 30, "other": 2, "ratio": 10.0, "least": 3.0, "most": 20.0, "processor": 10.0}


def test_the_page_says_what_was_measured() -> None:
    ratios = {"ours": 9876, "other": 432, "ratio": 22.86, "least": 20.1, "most": 24.0, "processor": 21.5}
    settings = {"n_layers": 2, "n_heads": 2, "hidden_size": 64, "inner_size": 256}
    case = {
        "settings": settings | {"MAX_ITEM_LIST_LENGTH": 50, "train_batch_size": 2048},
        "versions": {"recbole": "1.2.1", "numpy": "1.26.4"},
        "float32": ratios | {"ratio": 19.9},
        "bfloat16": ratios,
    }
    part = {"step_ms": 81.2, "rate": 5432.1, "epoch": 19.87, "validation": 2.0}
    cell = {"none": part, "llm-cf": part | {"epoch": 38.21}, "ratio": 1.92}
    account = {
        "recbole": {"measured_on": "one machine", "batch": 128, "ways": ["float32", "bfloat16"], "cases": [case]},
        "epochs": {"measured_on": "another", "models": {"srgnn": {"best": cell}}},
    }
    lines = retrieval.page(account, Workspace("beauty", "published")).splitlines()
    assert "| 2 / 256 / 50 | 432 | bfloat16 | 9,876 | 22.9 | 20.1 to 24.0 | 21.5 |" in lines
    assert "| SRGNN | best | 81 | 5,432 | 19.9 | 81 | 5,432 | 38.2 | 1.92 |" in lines
    assert any("RecBole 1.2.1" in line and "numpy 1.26.4" in line and "one machine" in line for line in lines)
    assert any("float32 misses it, bfloat16 reaches it" in line for line in lines)
