"""The request path's twins of training's rule and order: the same bits, without torch."""

import ast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core import contracts
from core.contracts import HISTORY
from core.settings import PROJECT
from ict import examples as of_training
from ict import shown
from ict.index import request
from ict.neighbours import shuffled_order as of_torch
from ict.shown import Shown, Who


@settings(deadline=None)
@given(
    numbers=st.lists(st.integers(0, 2**40), min_size=4, max_size=4),
    user=st.integers(0, 2**31),
    item=st.integers(0, 2**40),
    seed=st.integers(0, 2**32),
)
def test_the_order_is_that_of_training(numbers: list[int], user: int, item: int, seed: int) -> None:
    numbers_CK, items_C = np.array([numbers, numbers[::-1]]), np.array([item, item + 1])
    wanted = of_torch(torch.from_numpy(numbers_CK), torch.tensor([user, user]), torch.from_numpy(items_C), seed)
    np.testing.assert_array_equal(shown.shuffled_order(numbers_CK, user, items_C, seed), wanted)


@pytest.mark.parametrize("recipe", ["strict", "best", "paper"])
def test_the_rule_is_that_of_training(recipe: str) -> None:
    generator = np.random.default_rng(3)
    columns = {name: generator.integers(0, 6, 400) for name in ("id", "user", "position", "day")}
    history_L = np.zeros(HISTORY, dtype=np.int64)
    asked = request(3, 2, 4, torch.from_numpy(history_L), torch.tensor([5]))
    who = Who(user=3, position=2, day=4, history_L=history_L)
    found_M = shown.eligible(recipe, columns["user"], columns["position"], columns["day"], who)
    np.testing.assert_array_equal(found_M, of_training.rule(recipe, asked).mask(columns))
    assert 0 < found_M.sum() < len(found_M)


def test_groups_are_the_labels_or_all_and_never_no_example() -> None:
    label_M = np.array([0, 1, 0, 1])
    assert [one.tolist() for one in shown.groups(label_M, constrained=True)] == [[1, 3], [2]]
    assert [one.tolist() for one in shown.groups(label_M, constrained=False)] == [[1, 2, 3]]


def test_rows_of_two_kinds_come_together_in_their_order() -> None:
    one, two = (Shown(np.full((2, 4), number), np.full((2, 4), number / 10)) for number in (1, 2))
    both = one.interleaved(two, np.array([True, False, False, True]))
    assert both.examples_CK[:, 0].tolist() == [1, 2, 2, 1]
    assert both.similarity_CK[:, 3].tolist() == [0.1, 0.2, 0.2, 0.1]


@pytest.mark.parametrize("name", ["shown", "nearest"])
def test_what_travels_with_a_release_imports_nothing_of_the_project(name: str) -> None:
    """Triton's processes know no package of ours; what only a type checker reads is free."""
    tree = ast.parse((PROJECT / "ict" / f"{name}.py").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Import):
            assert [one.name for one in node.names] == ["numpy"]
        elif isinstance(node, ast.ImportFrom):
            assert node.module in {"dataclasses", "functools", "math", "threading", "typing"}


def test_the_id_of_what_is_newer_is_the_contracts() -> None:
    assert shown.UNKNOWN == contracts.UNKNOWN
