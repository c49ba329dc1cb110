"""GRU4Rec (arXiv:1511.06939), its network alone. Suffixes: B batch, L history length, D width, H hidden width.

A gated recurrent unit reads a user's recent items; what it holds after the newest one is scored against the item table.
This is no copy of the paper's training, which runs sessions side by side in mini-batches and ranks an item against the
others of its batch (TOP1, BPR): here every position of a window learns through the softmax of the stage, as with the
other backbones.
"""

import torch
from torch import Tensor, nn

from core.contracts import PAD
from ict.dropout import Dropout
from retrieval_stage.configs import Gru4RecConfig


class GRU4Rec(nn.Module):
    """state = W h + b, for h of the GRU after each item.

    A GRU's states lie within (-1, 1); W lets scores grow beyond that, and takes any hidden width to that of the items.
    b is what an empty history says.
    """

    causal = True

    def __init__(self, width: int, length: int, config: Gru4RecConfig) -> None:
        del length  # it reads any
        super().__init__()
        self.dropout = Dropout(config.dropout)
        widths = [width] + [config.hidden] * (config.layers - 1)
        self.layers = nn.ModuleList(GatedRecurrentUnit(inputs, config.hidden) for inputs in widths)
        self.project = nn.Linear(config.hidden, width)
        nn.init.xavier_uniform_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def forward(self, item_BLD: Tensor, history_BL: Tensor, user_BD: Tensor) -> Tensor:  # noqa: ARG002 - as of Backbone
        """The state after each position, (B, L, D)."""
        scaled_BLD = item_BLD * item_BLD.shape[-1] ** 0.5
        hidden_BLX = self.dropout(torch.where((history_BL != PAD).unsqueeze(2), scaled_BLD, 0.0))
        for layer in self.layers:
            hidden_BLX = layer(hidden_BLX)
        return self.project(hidden_BLX)


class GatedRecurrentUnit(nn.Module):
    """The states of `torch.nn.GRU`, whose loop over the steps torch cannot export to ONNX for any batch; as quick here.

    It has no biases, so that inputs of zero leave the first state at zero. Padding before a history then changes
    nothing, without a mask at each step.
    """

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.of_input = nn.Linear(inputs, 3 * hidden, bias=False)  # reset gate, update gate, candidate
        self.of_state = nn.Linear(hidden, 3 * hidden, bias=False)
        for of_input, of_state in zip(self.of_input.weight.chunk(3), self.of_state.weight.chunk(3), strict=True):
            nn.init.xavier_uniform_(of_input)  # keeps the variance of what it reads
            nn.init.orthogonal_(of_state)  # many steps neither shrink nor blow up what they carry

    def forward(self, input_BLX: Tensor) -> Tensor:
        """Return the state after each step, (B, L, H)."""
        hidden = self.of_state.in_features
        state_BH, states = input_BLX.new_zeros(input_BLX.shape[0], hidden), []
        for of_input_BY in self.of_input(input_BLX).unbind(1):
            gates_BX, candidate_BH = of_input_BY.split([2 * hidden, hidden], dim=1)
            state_gates_BX, state_candidate_BH = self.of_state(state_BH).split([2 * hidden, hidden], dim=1)
            reset_BH, update_BH = torch.sigmoid(gates_BX + state_gates_BX).chunk(2, dim=1)
            candidate_BH = torch.tanh(candidate_BH + reset_BH * state_candidate_BH)
            state_BH = torch.lerp(candidate_BH, state_BH, update_BH)
            states.append(state_BH)
        return torch.stack(states, dim=1)
