"""What a training step learns from, for every backbone: each position sees the items before its target, no others."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from core.contracts import FIRST_ID, PAD
from ict.neighbours import Neighbours
from retrieval_stage import objective
from retrieval_stage.recipes import resolve
from retrieval_stage.registry import MODELS
from retrieval_stage.sequences import Sequences
from retrieval_stage.user_tower import UserTower
from tests import in_memory

USERS, ITEMS, LENGTH = 6, 40, 14
SEQUENCES = Sequences.of(in_memory.training_rows(users=USERS, items=ITEMS, length=LENGTH))
NOTHING = Neighbours(torch.zeros(len(SEQUENCES), 0, dtype=torch.int64), torch.zeros(len(SEQUENCES), 0))
TRAIN = SEQUENCES.of_split("train")
LAST = TRAIN[(SEQUENCES.position_N[TRAIN] == LENGTH - 3)]  # one window a user: all of its training rows


def tower_of(model: str) -> UserTower:
    config = resolve(model=model, framework="none", recipe="strict", seed=1)
    config = replace(config, width=16, unknown_item=0.0, unknown_user=0.0)
    torch.manual_seed(3)
    known = torch.ones(USERS + FIRST_ID, dtype=torch.bool)
    return UserTower(config, known_U=known, items=ITEMS + FIRST_ID).eval()


def vectors(tower: UserTower, sequences: Sequences, monkeypatch: pytest.MonkeyPatch) -> Tensor:
    """The user vectors that a step scores, (users, positions, width), by the position of what each must predict."""
    taken: list[Tensor] = []

    def record(vector_XD: Tensor, item_VD: Tensor, target_X: Tensor, precision: str) -> Tensor:
        taken.extend((vector_XD.detach(), target_X + FIRST_ID))
        return vector_XD.sum()

    monkeypatch.setattr(objective, "full_softmax", record)
    objective.step_loss(tower, sequences, NOTHING, LAST, torch.Generator().manual_seed(5))
    vector_XD, target_X = taken
    assert target_X.tolist() == sequences.item_N[TRAIN].tolist()
    return vector_XD.view(USERS, LENGTH - 2, -1)


@pytest.mark.parametrize("model", MODELS)
def test_no_position_sees_its_target_or_anything_later(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another item at one position of every user: vectors up to the one that must predict it stay, later ones move."""
    tower, place = tower_of(model), 5
    before = vectors(tower, SEQUENCES, monkeypatch)
    changed = SEQUENCES.item_N.view(USERS, LENGTH)[:, place]
    other = torch.where(changed == FIRST_ID, FIRST_ID + 1, FIRST_ID)
    item_N, history_NL = SEQUENCES.item_N.clone(), SEQUENCES.history_NL.clone()
    item_N.view(USERS, LENGTH)[:, place] = other
    for position in range(place + 1, LENGTH):
        history_NL.view(USERS, LENGTH, -1)[:, position, place - position] = other
    after = vectors(tower, replace(SEQUENCES, item_N=item_N, history_NL=history_NL), monkeypatch)
    assert torch.equal(before[:, : place + 1], after[:, : place + 1])
    assert not torch.isclose(before[:, place + 1 :], after[:, place + 1 :], atol=1e-6).all(dim=2).any()


@pytest.mark.parametrize("model", MODELS)
def test_a_step_scores_what_a_request_with_the_same_history_gets(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tower = tower_of(model)
    trained = vectors(tower, SEQUENCES, monkeypatch)
    asked = tower(SEQUENCES.user_N[LAST], SEQUENCES.history_NL[LAST])
    torch.testing.assert_close(trained[:, -1], asked, atol=1e-5, rtol=1e-5)
    if not tower.backbone.causal:
        asked = tower(SEQUENCES.user_N[TRAIN], SEQUENCES.history_NL[TRAIN]).view(trained.shape)
        torch.testing.assert_close(trained, asked, atol=1e-5, rtol=1e-5)
    assert (SEQUENCES.history_NL[TRAIN] == PAD).all(dim=1).sum() == USERS, "an empty history among them"
