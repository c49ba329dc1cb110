"""Which measured lines are of what their names stand for today."""

import json
from dataclasses import asdict
from typing import Any

import pytest

from llmcf.backfill import retrieval
from llmcf.reports.retrieval_cells import of_today
from retrieval_stage.configs import RetrievalConfig
from retrieval_stage.recipes import resolve

OURS = resolve(model="sasrec", framework="llm-cf", recipe="strict", seed=1)


def stored(config: RetrievalConfig = OURS, **changes: Any) -> dict[str, Any]:
    """As a line has it."""
    return json.loads(json.dumps(asdict(config))) | changes


def test_as_it_is_it_counts() -> None:
    assert of_today(stored())
    assert retrieval._same(stored(), OURS)


@pytest.mark.parametrize("changes", [{"model": "gone"}, {"variant": "gone"}, {"fusion": "gone"}, {"recipe": "gone"}])
def test_a_line_of_a_name_that_is_no_more_is_left_out(changes: dict[str, Any]) -> None:
    assert not of_today(stored(**changes))
    assert not retrieval._same(stored(**changes), OURS)


def test_a_precision_is_a_choice_and_no_other_recipe() -> None:
    assert of_today(stored(resolve(model="sasrec", framework="llm-cf", recipe="strict", seed=1, precision="bfloat16")))
