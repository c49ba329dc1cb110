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
from torch import Tensor, nn

from core.contracts import PAD, UNKNOWN
from ict.group import ALONE, Group
from ict.neighbours import Neighbours
from retrieval_stage.configs import RetrievalConfig
from retrieval_stage.in_context import InContextFeature
from retrieval_stage.item_side import Items
from retrieval_stage.losses import full_softmax, sampled_softmax
from retrieval_stage.sequences import Sequences, hide
from retrieval_stage.user_tower import UserTower

_LENGTHS = 8  # groups of prefixes, by how long they are


@dataclass(frozen=True, slots=True)
class Drawn:
    """What a step trains on, its random choices made.

    Args:
        user_B, history_BL: of the windows, some of the ids hidden.
        there_BL: which positions predict something; X-long tensors hold these, window by window.
        target_X: the items that they predict.
        row_X: whose training row each is.
        with_w_X: where w enters.
        blind_X: whose w is that of no examples.
        prefix_XL: the history before each, some of its ids hidden, for backbones that are not causal.
    """

    user_B: Tensor
    history_BL: Tensor
    there_BL: Tensor
    target_X: Tensor
    row_X: Tensor
    with_w_X: Tensor
    blind_X: Tensor
    prefix_XL: Tensor | None

    @classmethod
    def of(
        cls, sequences: Sequences, index_B: Tensor, config: RetrievalConfig, generator: torch.Generator, *, causal: bool
    ) -> "Drawn":
        """The windows that end at `index_B`."""
        target_BL = sequences.targets(index_B)
        skipped = int((target_BL == PAD).all(dim=0).sum()) if config.trimmed else 0  # positions that no window has
        target_BL = target_BL[:, skipped:]
        there_BL = target_BL != PAD
        user_B = hide(sequences.user_N[index_B], config.unknown_user, UNKNOWN, generator)
        history_BL = hide(sequences.history_NL[index_B, skipped:], config.unknown_item, UNKNOWN, generator)
        row_X = sequences.rows_of_window(index_B)[:, skipped:][there_BL]
        prefix_XL = None
        if not causal:
            prefix_XL = hide(sequences.history_NL[row_X], config.unknown_item, UNKNOWN, generator)
        with_w_X = torch.rand(len(row_X), generator=generator) < config.positions
        blind_X, share = torch.zeros_like(with_w_X), config.in_context.example_dropout
        if share:
            blind_X = torch.rand(len(row_X), generator=generator) < share
        return cls(user_B, history_BL, there_BL, target_BL[there_BL], row_X, with_w_X, blind_X, prefix_XL)

    def share(self, group: Group) -> tuple["Drawn", "Drawn"]:
        """This process's windows, and those of all processes together."""
        if group.size == 1:
            return self, self
        own_B = group.shard(torch.arange(len(self.user_B)))
        return self._windows(own_B), self._windows(torch.arange(len(own_B) * group.size))

    def _windows(self, index_B: Tensor) -> "Drawn":
        chosen_X = torch.zeros_like(self.there_BL).index_fill_(0, index_B, True)[self.there_BL]
        return Drawn(
            self.user_B[index_B],
            self.history_BL[index_B],
            self.there_BL[index_B],
            self.target_X[chosen_X],
            self.row_X[chosen_X],
            self.with_w_X[chosen_X],
            self.blind_X[chosen_X],
            None if self.prefix_XL is None else self.prefix_XL[chosen_X],
        )

    def examples(self, shown: Neighbours) -> int:
        """How many examples its positions with w are shown."""
        return int((shown.examples_NK[self.row_X[self.with_w_X & ~self.blind_X]] > 0).sum())


class Objective(nn.Module):
    """`step_loss` as a module, whose gradients `Group.replicate` averages."""

    def __init__(self, tower: UserTower, sequences: Sequences, shown: Neighbours, group: Group = ALONE) -> None:
        super().__init__()
        self.tower = tower
        self.read = (sequences, shown)
        self.group = group

    def forward(self, index_B: Tensor, generator: torch.Generator) -> Tensor:
        """The loss of the windows that end at `index_B`."""
        return step_loss(self.tower, *self.read, index_B, generator, self.group)


def step_loss(
    tower: UserTower,
    sequences: Sequences,
    shown: Neighbours,
    index_B: Tensor,
    generator: torch.Generator,
    group: Group = ALONE,
) -> Tensor:
    """The mean loss over the windows that end at `index_B`.

    Of a group it is this process's part times the number of processes: the mean over the processes is the loss of all.
    `generator` stands at the same place in each, and what is drawn from it is drawn for all.
    """
    config, causal = tower.config, tower.backbone.causal
    own, whole = Drawn.of(sequences, index_B, config, generator, causal=causal).share(group)
    user_BD, items = tower.users(own.user_B), tower.items()
    user_XD = user_BD[:, None].expand(-1, own.there_BL.shape[1], -1)[own.there_BL]
    if own.prefix_XL is None:
        state_XD = tower.states(own.history_BL, user_BD, items)[own.there_BL]
    else:
        size = -(-len(own.prefix_XL) // _LENGTHS)
        state_XD = tower.last_states(own.prefix_XL, user_XD, items, size)
    vector_XD, added = tower.combine(state_XD, user_XD), torch.zeros(())
    chosen_P = torch.nonzero(own.with_w_X).flatten()
    if tower.context is not None and len(chosen_P):
        parts = (own.row_X[chosen_P], own.blind_X[chosen_P], user_XD[chosen_P], state_XD[chosen_P])
        w_PD, added = _feature(tower, tower.context, sequences, shown, *parts, items)
        vector_XD = vector_XD.index_copy(0, chosen_P, tower.add_feature(vector_XD[chosen_P], w_PD))
    item_OD, target_X = tower.catalogue(own.target_X, items)
    scaled_XD = vector_XD / config.temperature
    if config.negatives:
        loss = sampled_softmax(scaled_XD, item_OD, target_X, config.negatives, generator)
    else:
        loss = full_softmax(scaled_XD, item_OD, target_X, config.precision)
    if group.size == 1:
        return loss + added
    of_positions = len(own.row_X) / len(whole.row_X)
    of_examples = own.examples(shown) / max(whole.examples(shown), 1)
    return group.size * (loss * of_positions + added * of_examples)


def _feature(
    tower: UserTower,
    context: InContextFeature,
    sequences: Sequences,
    shown: Neighbours,
    row_P: Tensor,
    blind_P: Tensor,
    user_PD: Tensor,
    state_PD: Tensor,
    items: Items,
) -> tuple[Tensor, Tensor]:
    """w of some positions, (P, D), and the reconstruction loss."""
    r_PD = context.represent_requests(user_PD, state_PD, context.texts_of(sequences.history_NL[row_P]))
    examples_PK = shown.examples_NK[row_P].masked_fill(blind_P[:, None], 0)
    return context.train_on(r_PD, examples_PK, shown.similarity_NK[row_P], tower.users, items)
