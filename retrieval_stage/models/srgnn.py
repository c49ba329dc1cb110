"""SR-GNN (arXiv:1811.00855). Suffixes: B batch, L history length, D width.

A history is a graph: its distinct items are nodes, and each step from one item to the next is an edge. Nodes exchange
messages along the edges, in both directions; an attention that asks with the last item then reads the graph.

No node is ever numbered. Each position of a history carries the state of its item's node, and positions of one item are
kept equal, so that sums over a node's edges are sums over its positions: a product with the matrix that says which
positions hold the same item.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.contracts import PAD
from ict.dropout import Dropout
from retrieval_stage.configs import SrGnnConfig


class SRGNN(nn.Module):
    """Gated propagation (equations 1 to 5), then W3 [last; sum of attention * node] (equations 6 and 7).

    The gate is `nn.GRUCell`: it applies the reset gate to the product with the state, as the authors' code does, where
    equation 4 applies it to the state. Biases of equation 7 are those of the code too; without one, an empty history
    would score all items alike. New weights are torch's, uniform within 1 / sqrt(inputs), as the authors draw theirs.

    The graph of a window knows its later edges, so this is not causal.
    """

    causal = False

    def __init__(self, width: int, length: int, config: SrGnnConfig) -> None:
        del length  # as of registry: it reads any
        super().__init__()
        self.steps = config.steps
        self.dropout = Dropout(config.dropout)
        self.from_earlier = nn.Linear(width, width)
        self.from_later = nn.Linear(width, width)
        self.gate = nn.GRUCell(2 * width, width)
        self.ask = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width)
        self.weigh = nn.Linear(width, 1, bias=False)
        self.read_out = nn.Linear(2 * width, width)

    def forward(self, item_BLD: Tensor, history_BL: Tensor, user_BD: Tensor) -> Tensor:  # noqa: ARG002 - as of Backbone
        """The state after the whole history, at every position, (B, L, D)."""
        there_BL1 = (history_BL != PAD).unsqueeze(2).to(item_BLD.dtype)
        same_BLL = (history_BL[:, :, None] == history_BL[:, None]).to(item_BLD.dtype) * there_BL1
        node_BLD = torch.where(there_BL1 > 0, item_BLD * item_BLD.shape[-1] ** 0.5, 0.0)
        if self.training:  # a node stays one: its positions take the mean of their masks
            node_BLD = mean_over(same_BLL, self.dropout(node_BLD), there_BL1)
        for _ in range(self.steps):
            node_BLD = self.propagate(node_BLD, same_BLL, there_BL1)
        return self.read(node_BLD)[:, None].expand_as(item_BLD)

    def propagate(self, node_BLD: Tensor, same_BLL: Tensor, there_BL1: Tensor) -> Tensor:
        """One round of messages, (B, L, D), padding left at zero. An edge weighs as often as it was taken, divided by
        the in-degree of where it ends for messages along it, by the out-degree of where it starts for those back."""
        earlier_BLD = mean_over(same_BLL, shifted(node_BLD, 1), shifted(there_BL1, 1))
        later_BLD = mean_over(same_BLL, shifted(node_BLD, -1), shifted(there_BL1, -1))
        message_BLX = torch.cat([self.from_earlier(earlier_BLD), self.from_later(later_BLD)], dim=-1)
        updated_XD = self.gate(message_BLX.flatten(0, 1), node_BLD.flatten(0, 1))
        return updated_XD.view(node_BLD.shape) * there_BL1

    def read(self, node_BLD: Tensor) -> Tensor:
        """The state, (B, D); attention is no softmax, so a long history adds up to more."""
        last_BD = node_BLD[:, -1]
        attention_BL1 = self.weigh(torch.sigmoid(self.ask(last_BD)[:, None] + self.key(node_BLD)))
        return self.read_out(torch.cat([last_BD, (attention_BL1 * node_BLD).sum(dim=1)], dim=-1))


def mean_over(same_BLL: Tensor, value_BLD: Tensor, there_BL1: Tensor) -> Tensor:
    """For each position the mean, over all positions of its item, of the values that are there, (B, L, D).

    A value that is not there is zero, and so is a mean of none.
    """
    return same_BLL @ value_BLD / (same_BLL @ there_BL1).clamp(min=1)


def shifted(value_BLD: Tensor, by: int) -> Tensor:
    """What the position before (1) or after (-1) holds; zero at the end."""
    return F.pad(value_BLD[:, :-1], (0, 0, 1, 0)) if by > 0 else F.pad(value_BLD[:, 1:], (0, 0, 0, 1))
