"""SRGNN against the paper's session graph, built with dictionaries, one session after the other."""

import math
from collections import Counter
from itertools import pairwise

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from core.contracts import PAD
from retrieval_stage.configs import SrGnnConfig
from retrieval_stage.models.srgnn import SRGNN

WIDTH, LENGTH, ITEMS = 6, 8, 12
SESSIONS = [
    [2, 3, 4, 5],  # a chain
    [2, 3, 2, 4, 3, 2],  # a node left and entered more than once, edge 3 -> 2 taken twice
    [2, 3, 4, 2, 3, 5, 2, 3],  # edge 2 -> 3 three times, and no padding
    [7, 7, 7],  # an item after itself
    [9],
]


def made(steps: int) -> SRGNN:
    torch.manual_seed(0)
    return SRGNN(WIDTH, LENGTH, SrGnnConfig(steps=steps)).eval()


def table() -> Tensor:
    values = torch.randn(ITEMS, WIDTH, generator=torch.Generator().manual_seed(1))
    values[PAD] = 0
    return values


def batch(sessions: list[list[int]]) -> tuple[Tensor, Tensor, Tensor]:
    history_BL = torch.tensor([[PAD] * (LENGTH - len(session)) + session for session in sessions])
    return table()[history_BL], history_BL, torch.zeros(len(sessions), WIDTH)


def by_hand(model: SRGNN, session: list[int]) -> Tensor:
    """Equations 1 to 7 for one session, in the paper's terms."""
    edges = Counter(pairwise(session))
    out_degree, in_degree = Counter(session[:-1]), Counter(session[1:])
    nodes = {item: table()[item] * math.sqrt(WIDTH) for item in session}
    for _ in range(model.steps):
        new = {}
        for item, state in nodes.items():
            incoming, outgoing = torch.zeros(WIDTH), torch.zeros(WIDTH)
            for (start, end), count in edges.items():
                if end == item:
                    incoming = incoming + nodes[start] * count / in_degree[item]
                if start == item:
                    outgoing = outgoing + nodes[end] * count / out_degree[item]
            a = torch.cat([model.from_earlier(incoming), model.from_later(outgoing)])
            w_r, w_z, w_o = model.gate.weight_ih.chunk(3)
            u_r, u_z, u_o = model.gate.weight_hh.chunk(3)
            (b_r, b_z, b_o), (c_r, c_z, c_o) = model.gate.bias_ih.chunk(3), model.gate.bias_hh.chunk(3)
            reset = torch.sigmoid(w_r @ a + b_r + u_r @ state + c_r)
            update = torch.sigmoid(w_z @ a + b_z + u_z @ state + c_z)
            candidate = torch.tanh(w_o @ a + b_o + reset * (u_o @ state + c_o))
            new[item] = update * state + (1 - update) * candidate
        nodes = new
    last = nodes[session[-1]]
    whole = torch.zeros(WIDTH)
    for item in session:
        weight = model.weigh.weight @ torch.sigmoid(model.ask.weight @ last + model.key(nodes[item]))
        whole = whole + weight * nodes[item]
    return model.read_out(torch.cat([last, whole]))


@pytest.mark.parametrize("steps", [1, 3])
def test_it_is_the_papers_graph(steps: int) -> None:
    model = made(steps)
    expected_BD = torch.stack([by_hand(model, session) for session in SESSIONS])
    assert_close(model(*batch(SESSIONS))[:, -1], expected_BD, atol=1e-5, rtol=1e-5)


def test_a_node_is_one_wherever_its_item_stands_in_training_too() -> None:
    """With half of the numbers dropped, the states of an item's positions are equal before and after a round."""
    model = SRGNN(WIDTH, LENGTH, SrGnnConfig(dropout=0.5)).train()
    seen: list[Tensor] = []
    propagate = model.propagate

    def watched(node_BLD: Tensor, same_BLL: Tensor, there_BL1: Tensor) -> Tensor:
        seen.extend((node_BLD, propagate(node_BLD, same_BLL, there_BL1)))
        return seen[-1]

    model.propagate = watched  # pyright: ignore[reportAttributeAccessIssue]
    torch.manual_seed(2)
    item_BLD, history_BL, user_BD = batch([SESSIONS[2]])
    model(item_BLD, history_BL, user_BD)
    before_LD, after_LD = (states[0] for states in seen)
    assert not torch.allclose(before_LD, item_BLD[0] * math.sqrt(WIDTH)), "something was dropped"
    for item in set(SESSIONS[2]):
        places = history_BL[0] == item
        for states in (before_LD, after_LD):
            assert_close(states[places], states[places][:1].expand(int(places.sum()), -1))
