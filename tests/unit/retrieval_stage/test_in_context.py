"""Representations of requests and examples: both hold what came before, an example alone what was then taken."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from core.contracts import FIRST_ID
from ict.config import IctConfig
from ict.neighbours import Neighbours
from retrieval_stage.graph import UserVectorGraph
from retrieval_stage.in_context import InContextFeature
from retrieval_stage.objective import step_loss
from retrieval_stage.recipes import resolve
from retrieval_stage.sequences import Sequences
from retrieval_stage.user_tower import UserTower
from tests import in_memory

USERS, ITEMS, WIDTH, LAST = 6, 30, 8, 3
ROWS = in_memory.training_rows(users=USERS, items=ITEMS)
SEQUENCES, EXAMPLES = Sequences.of(ROWS), in_memory.example_set(ROWS, count=20, items=ITEMS)
SHOWN = Neighbours(*(values.expand(len(SEQUENCES), -1) for values in (torch.tensor([[1, 2]]), torch.zeros(1, 2))))
TESTED = SEQUENCES.of_split("test")


def read(context: InContextFeature) -> list[Tensor]:
    """What representations are made of from now on: user, state, text of the history, item, its text, (X, 5, D)."""
    taken: list[Tensor] = []

    def look(_: object, given: tuple[Tensor, ...]) -> None:
        taken.append(given[0].detach().unflatten(1, (5, -1)))

    context.represent.register_forward_pre_hook(look)
    return taken


def masked(parts_X5D: Tensor) -> bool:
    """Whether there is a state and a text of the history, and nothing of a target."""
    return bool(parts_X5D[:, 1:3].any(dim=2).all()) and not parts_X5D[:, LAST:].any()


@pytest.mark.parametrize("users", [False, True])
def test_a_request_has_nothing_where_an_example_has_its_target(users: bool) -> None:
    torch.manual_seed(0)
    context = InContextFeature(EXAMPLES, IctConfig(), WIDTH, users=users)
    taken, table = read(context), torch.randn(ITEMS + FIRST_ID, WIDTH)
    user_XD, state_XD, text_XE = torch.randn(3, WIDTH), torch.randn(3, WIDTH), torch.randn(3, 16)
    context.represent_requests(user_XD, state_XD, text_XE)
    context.state_MD = torch.randn(len(EXAMPLES.row_M), WIDTH)
    context.tokens(torch.arange(len(EXAMPLES.row_M)), lambda ids: table[ids], lambda ids: table[ids])
    request_X5D, example_M5D = taken
    assert masked(request_X5D)
    assert torch.equal(request_X5D[:, 0], user_XD if users else torch.zeros_like(user_XD))
    assert torch.equal(request_X5D[:, 1], state_XD)
    assert torch.equal(example_M5D[1:, LAST], table[EXAMPLES.item_M[1:]])
    assert example_M5D[1:].any(dim=2)[:, 1:].all(), "an example has all of it"


def tower_of() -> UserTower:
    config = resolve(model="sasrec", framework="llm-cf", recipe="strict", seed=1)
    config = replace(config, width=WIDTH, positions=1.0)
    known = torch.ones(USERS + FIRST_ID, dtype=torch.bool)
    torch.manual_seed(0)
    tower = UserTower(config, known_U=known, items=ITEMS + FIRST_ID, examples=EXAMPLES)
    tower.freeze_examples()
    return tower


def test_the_target_is_masked_in_a_training_step() -> None:
    tower = tower_of()
    assert tower.context is not None
    taken = read(tower.context)
    step_loss(tower, SEQUENCES, SHOWN, SEQUENCES.of_split("valid"), torch.Generator())
    request_X5D, example_U5D = taken
    assert masked(request_X5D[request_X5D[:, 2].any(dim=1)]), "of those with a history"
    assert not request_X5D[:, LAST:].any()
    assert example_U5D[1:, LAST:].any(dim=2).all()


def test_the_target_is_masked_in_evaluation_and_in_the_graph() -> None:
    tower = tower_of().eval()
    graph = UserVectorGraph(tower)
    frozen = graph.tables()
    asked = {"user": SEQUENCES.user_N[TESTED], "history": SEQUENCES.history_NL[TESTED]}
    asked["examples"] = SHOWN.examples_NK[TESTED]
    assert tower.context is not None
    assert graph.tower.context is not None
    measured, served = read(tower.context), read(graph.tower.context)
    tower(*asked.values())
    graph(asked, frozen)
    assert masked(measured[0])
    assert masked(served[0])
    torch.testing.assert_close(measured[0], served[0])
