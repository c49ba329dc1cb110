"""GRU4Rec against torch's own GRU and against one step by hand."""

import math

import torch
from torch import nn
from torch.testing import assert_close

from core.contracts import PAD
from retrieval_stage.configs import Gru4RecConfig
from retrieval_stage.models.gru4rec import GatedRecurrentUnit, GRU4Rec

WIDTH, HIDDEN, LENGTH = 5, 7, 9


def torchs_own(ours: GRU4Rec, layers: int) -> nn.GRU:
    """torch's GRU with the same weights."""
    theirs = nn.GRU(WIDTH, HIDDEN, layers, bias=False, batch_first=True)
    for number, layer in enumerate(ours.layers):
        assert isinstance(layer, GatedRecurrentUnit)
        theirs.load_state_dict(
            theirs.state_dict()
            | {
                f"weight_ih_l{number}": layer.of_input.weight.detach(),
                f"weight_hh_l{number}": layer.of_state.weight.detach(),
            }
        )
    return theirs


def test_it_is_torchs_gru_and_a_projection() -> None:
    torch.manual_seed(0)
    for layers in (1, 3):
        ours = GRU4Rec(WIDTH, LENGTH, Gru4RecConfig(layers=layers, hidden=HIDDEN)).eval()
        item_BLD, history_BL, user_BD = torch.randn(3, LENGTH, WIDTH), torch.ones(3, LENGTH).long(), torch.zeros(3, 5)
        theirs, _ = torchs_own(ours, layers)(item_BLD * math.sqrt(WIDTH))
        assert_close(ours(item_BLD, history_BL, user_BD), ours.project(theirs))


def test_a_padded_row_is_torchs_gru_of_the_unpadded_one() -> None:
    torch.manual_seed(0)
    ours = GRU4Rec(WIDTH, LENGTH, Gru4RecConfig(layers=2, hidden=HIDDEN)).eval()
    nn.init.normal_(ours.project.bias)
    item_BLD, history_BL = torch.randn(1, LENGTH, WIDTH), torch.ones(1, LENGTH).long()
    history_BL[:, :6] = PAD
    state_BLD = ours(item_BLD, history_BL, torch.zeros(1, WIDTH))
    theirs, _ = torchs_own(ours, 2)(item_BLD[:, 6:] * math.sqrt(WIDTH))
    assert_close(state_BLD[:, 6:], ours.project(theirs))
    assert_close(state_BLD[0, :6], ours.project.bias.expand(6, -1), atol=0, rtol=0)


def test_two_steps_by_hand() -> None:
    """r = s(Wr x + Ur h), z = s(Wz x + Uz h), n = tanh(Wn x + r (Un h)), h' = (1 - z) n + z h; one number wide."""
    unit = GatedRecurrentUnit(1, 1)
    with torch.no_grad():
        unit.of_input.weight.copy_(torch.tensor([[0.5], [-1.0], [2.0]]))
        unit.of_state.weight.copy_(torch.tensor([[0.25], [1.5], [-0.5]]))
    first, second = unit(torch.tensor([[[0.3], [-0.7]]]))[0, :, 0].tolist()

    def sigmoid(x: float) -> float:
        return 1 / (1 + math.exp(-x))

    update = sigmoid(-0.3)
    h = (1 - update) * math.tanh(0.6)
    assert math.isclose(first, h, rel_tol=1e-6)
    reset, update = sigmoid(-0.35 + 0.25 * h), sigmoid(0.7 + 1.5 * h)
    assert math.isclose(second, (1 - update) * math.tanh(-1.4 + reset * -0.5 * h) + update * h, rel_tol=1e-6)


def test_new_weights_carry_a_state_without_shrinking_it() -> None:
    for gate in GatedRecurrentUnit(WIDTH, HIDDEN).of_state.weight.detach().chunk(3):
        assert_close(gate @ gate.T, torch.eye(HIDDEN), atol=1e-5, rtol=1e-5)
