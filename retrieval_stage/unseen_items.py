"""Items that no training row has, after training (cold start): they stand where their texts are mapped to.

Training leaves such an item where it was drawn, pushed away by every user as a negative; neither says what it is. In
the catalogue its mapped text takes that place, in a history the UNKNOWN item's id, which training knows by id dropout,
beside its own text and attributes where the tower reads those: on Amazon Beauty, global-time, mapped texts in histories
found fewer items. The map reads what training rows took, and
texts, which do not change with time: nothing leaks. Suffixes: V items, X those that no training row has.
"""

import torch
from torch import Tensor

from core.contracts import FIRST_ID
from retrieval_stage.controls import Evidence
from retrieval_stage.sequences import Sequences
from retrieval_stage.text_map import TextMap
from retrieval_stage.user_tower import UserTower


def fit(tower: UserTower, sequences: Sequences, texts_VE: Tensor) -> TextMap:
    """The map of the tower's learnt items.

    Args:
        texts_VE: of all items of the tower, the rows of padding and of unknown items first.
    """
    item_VD = tower.item_vectors().detach()
    taken = sequences.item_N[sequences.of_split("train")] - FIRST_ID
    taken_V = torch.bincount(taken, minlength=len(item_VD))
    return TextMap.fit(texts_VE[FIRST_ID:].numpy(), item_VD.numpy(), taken_V.numpy())


def place(tower: UserTower, text_map: TextMap, texts_VE: Tensor) -> None:
    """Let the tower score items that the map was not fitted on by where it puts them."""
    unseen_X = torch.from_numpy(~text_map.learnt_V).nonzero().flatten() + FIRST_ID
    tower.place(unseen_X, torch.from_numpy(text_map(texts_VE[unseen_X].numpy())))


def evidence(text_map: TextMap) -> Evidence:
    """One for the items that the map was not fitted on, else nothing."""
    unseen_V = torch.from_numpy(~text_map.learnt_V).float()
    return lambda index_B: unseen_V.repeat(len(index_B), 1)
