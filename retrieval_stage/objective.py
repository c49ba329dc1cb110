"""What one training step minimises.

Every position of a window predicts its own next item, in both frameworks and over the same positions. A backbone that
is not causal would see it in a window, and reads the prefix of each position instead. With LLM-CF, w
enters at a random share of them, each with the examples of its own training row (its prefix, its day); the other
positions train the backbone alone. When serving, and in every evaluation, w is there for every request.

Suffixes: N positives, B windows, L positions of a window, X positions with a target, P those with w, K examples,
O items on offer.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from core.contracts import PAD, UNKNOWN
from ict.neighbours import Neighbours
from retrieval_stage.in_context import InContextFeature
from retrieval_stage.item_side import Items
from retrieval_stage.losses import full_softmax, sampled_softmax
from retrieval_stage.sequences import Sequences, hide
from retrieval_stage.user_tower import UserTower

_LENGTHS = 8  # groups of prefixes, by how long they are


@dataclass(frozen=True, slots=True)
class PredictingPositions:
    """Those that predict something: backbone state and user embedding, (X, D), and whose training row they are."""

    state_XD: Tensor
    user_XD: Tensor
    row_X: Tensor

    def take(self, chosen_P: Tensor) -> "PredictingPositions":
        return PredictingPositions(self.state_XD[chosen_P], self.user_XD[chosen_P], self.row_X[chosen_P])


def step_loss(
    tower: UserTower, sequences: Sequences, shown: Neighbours, index_B: Tensor, generator: torch.Generator
) -> Tensor:
    """The mean loss over the windows that end at `index_B`."""
    config = tower.config
    target_BL = sequences.targets(index_B)
    skipped = int((target_BL == PAD).all(dim=0).sum()) if config.trimmed else 0  # positions that no window has
    target_BL = target_BL[:, skipped:]
    there_BL = target_BL != PAD
    user_B = hide(sequences.user_N[index_B], config.unknown_user, UNKNOWN, generator)
    history_BL = hide(sequences.history_NL[index_B, skipped:], config.unknown_item, UNKNOWN, generator)
    row_X = sequences.rows_of_window(index_B)[:, skipped:][there_BL]
    user_BD, items = tower.users(user_B), tower.items()
    user_XD = user_BD[:, None].expand(-1, there_BL.shape[1], -1)[there_BL]
    if tower.backbone.causal:
        state_XD = tower.states(history_BL, user_BD, items)[there_BL]
    else:
        prefix_XL = hide(sequences.history_NL[row_X], config.unknown_item, UNKNOWN, generator)
        state_XD = _last_states(tower, prefix_XL, user_XD, items)
    positions = PredictingPositions(state_XD, user_XD, row_X)
    vector_XD = tower.combine(positions.state_XD, positions.user_XD)
    chosen_P = torch.nonzero(torch.rand(len(vector_XD), generator=generator) < config.positions).flatten()
    added = torch.zeros(())
    if tower.context is not None and len(chosen_P):
        w_PD, added = _feature(tower, tower.context, sequences, shown, positions.take(chosen_P), items)
        vector_XD = vector_XD.index_copy(0, chosen_P, tower.add_feature(vector_XD[chosen_P], w_PD))
    item_OD, target_X = tower.catalogue(target_BL[there_BL], items)
    scaled_XD = vector_XD / config.temperature
    if config.negatives:
        return added + sampled_softmax(scaled_XD, item_OD, target_X, config.negatives, generator)
    return added + full_softmax(scaled_XD, item_OD, target_X)


def _last_states(tower: UserTower, prefix_XL: Tensor, user_XD: Tensor, items: Items) -> Tensor:
    """The states of whole prefixes, (X, D). Most are short: those of like length go together, without their padding."""
    length_X = (prefix_XL != PAD).sum(dim=1)
    order_X = length_X.argsort(stable=True)
    states = []
    for group_Y in order_X.split(-(-len(order_X) // _LENGTHS)):
        longest = max(1, int(length_X[group_Y[-1]]))
        group_YD = user_XD.index_select(0, group_Y)
        states.append(tower.states(prefix_XL[group_Y, -longest:], group_YD, items)[:, -1])
    return torch.cat(states).index_select(0, order_X.argsort())


def _feature(
    tower: UserTower,
    context: InContextFeature,
    sequences: Sequences,
    shown: Neighbours,
    chosen: PredictingPositions,
    items: Items,
) -> tuple[Tensor, Tensor]:
    """w of the chosen positions, (P, D), and the reconstruction loss."""
    history_PE = context.texts_of(sequences.history_NL[chosen.row_X])
    r_PD = context.represent_requests(chosen.user_XD, chosen.state_XD, history_PE)
    examples_PK, similarity_PK = shown.examples_NK[chosen.row_X], shown.similarity_NK[chosen.row_X]
    return context.train_on(r_PD, examples_PK, similarity_PK, tower.users, items)
