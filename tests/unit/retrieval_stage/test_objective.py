"""What a training step learns from, for every backbone, with LLM-CF and without: each position sees the items before
its target, no others, and neither does the query of its in-context examples."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from core.contracts import FIRST_ID, PAD
from ict.examples import Requests
from ict.neighbours import NeighbourConfig, Neighbours, search_exact
from retrieval_stage import objective
from retrieval_stage.in_context import InContextFeature
from retrieval_stage.item_side import Items
from retrieval_stage.recipes import resolve
from retrieval_stage.registry import MODELS
from retrieval_stage.sequences import Sequences
from retrieval_stage.user_tower import UserTower
from tests import in_memory

USERS, ITEMS, LENGTH = 6, 40, 14
ROWS = in_memory.training_rows(users=USERS, items=ITEMS, length=LENGTH)
SEQUENCES = Sequences.of(ROWS)
EXAMPLES = in_memory.example_set(ROWS, items=ITEMS)
TRAIN = SEQUENCES.of_split("train")
LAST = TRAIN[(SEQUENCES.position_N[TRAIN] == LENGTH - 3)]  # one window a user: all of its training rows
PLACE = 5  # the position whose item is another in `changed`
EVERY = [(model, framework) for model in MODELS for framework in ("none", "llm-cf")]


def tower_of(model: str, framework: str = "none") -> UserTower:
    """One that hides no id, and where w enters at every position."""
    config = resolve(model=model, framework=framework, recipe="strict", seed=1)
    config = replace(config, width=16, unknown_item=0.0, unknown_user=0.0, positions=1.0)
    torch.manual_seed(3)
    known = torch.ones(USERS + FIRST_ID, dtype=torch.bool)
    examples = EXAMPLES if config.uses_examples else None
    tower = UserTower(config, known_U=known, items=ITEMS + FIRST_ID, examples=examples).eval()
    tower.freeze_examples()
    return tower


def shown_to(sequences: Sequences) -> Neighbours:
    """The examples of every positive, searched for by what `sequences` say of it."""
    columns = (sequences.user_N, sequences.item_N, sequences.position_N, sequences.day_N, sequences.history_NL)
    config = NeighbourConfig(stage="retrieval", recipe="strict", seed=1)
    return Neighbours(*search_exact(EXAMPLES, Requests(*columns), config))


def vectors(tower: UserTower, sequences: Sequences, monkeypatch: pytest.MonkeyPatch) -> Tensor:
    """The user vectors that a step scores, (users, positions, width), by the position of what each must predict."""
    taken: list[Tensor] = []

    def record(vector_XD: Tensor, item_VD: Tensor, target_X: Tensor, precision: str) -> Tensor:
        taken.extend((vector_XD.detach(), target_X + FIRST_ID))
        return vector_XD.sum()

    monkeypatch.setattr(objective, "full_softmax", record)
    objective.step_loss(tower, sequences, shown_to(sequences), LAST, torch.Generator().manual_seed(5))
    vector_XD, target_X = taken
    assert target_X.tolist() == sequences.item_N[TRAIN].tolist()
    return vector_XD.view(USERS, LENGTH - 2, -1)


def changed() -> Sequences:
    """Another item at one position of every user."""
    taken = SEQUENCES.item_N.view(USERS, LENGTH)[:, PLACE]
    other = torch.where(taken == FIRST_ID, FIRST_ID + 1, FIRST_ID)
    item_N, history_NL = SEQUENCES.item_N.clone(), SEQUENCES.history_NL.clone()
    item_N.view(USERS, LENGTH)[:, PLACE] = other
    for position in range(PLACE + 1, LENGTH):
        history_NL.view(USERS, LENGTH, -1)[:, position, PLACE - position] = other
    return replace(SEQUENCES, item_N=item_N, history_NL=history_NL)


@pytest.mark.parametrize(("model", "framework"), EVERY)
def test_no_position_sees_its_target_or_anything_later(
    model: str, framework: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Vectors up to the one that must predict the changed item stay, later ones move."""
    tower = tower_of(model, framework)
    before, after = (vectors(tower, sequences, monkeypatch) for sequences in (SEQUENCES, changed()))
    assert torch.equal(before[:, : PLACE + 1], after[:, : PLACE + 1])
    assert not torch.isclose(before[:, PLACE + 1 :], after[:, PLACE + 1 :], atol=1e-6).all(dim=2).any()


Query = Callable[[InContextFeature, Sequences, Tensor, Tensor, Tensor, Items], Tensor]


def target_in_its_place(
    context: InContextFeature, sequences: Sequences, row_P: Tensor, user_PD: Tensor, state_PD: Tensor, items: Items
) -> Tensor:
    """r as an example has it: with the item that is to be predicted, and its text."""
    history_PE, item_P = context.texts_of(sequences.history_NL[row_P]), sequences.item_N[row_P]
    target = items(item_P), context.ict.text(context.item_vectors_VE[item_P])
    parts = [torch.zeros_like(user_PD), state_PD, context.ict.text(history_PE), *target]
    return context.represent(torch.cat(parts, dim=-1))


def text_one_item_too_far(
    context: InContextFeature, sequences: Sequences, row_P: Tensor, user_PD: Tensor, state_PD: Tensor, items: Items
) -> Tensor:
    """r with the target's text among those of the history."""
    del items
    return context.represent_requests(user_PD, state_PD, context.texts_of(sequences.targets(row_P)))


@pytest.mark.parametrize("query", [target_in_its_place, text_one_item_too_far], ids=lambda query: query.__name__)
def test_a_target_that_is_planted_into_the_query_is_seen_by_the_test_above(
    query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    def planted(
        tower: UserTower,
        context: InContextFeature,
        sequences: Sequences,
        shown: Neighbours,
        row_P: Tensor,
        _: Tensor,
        user_PD: Tensor,
        state_PD: Tensor,
        items: Items,
    ) -> tuple[Tensor, Tensor]:
        r_PD = query(context, sequences, row_P, user_PD, state_PD, items)
        return context.train_on(r_PD, shown.examples_NK[row_P], shown.similarity_NK[row_P], tower.users, items)

    tower = tower_of("sasrec", "llm-cf")
    monkeypatch.setattr(objective, "_feature", planted)
    before, after = (vectors(tower, sequences, monkeypatch) for sequences in (SEQUENCES, changed()))
    assert torch.equal(before[:, :PLACE], after[:, :PLACE])
    assert not torch.isclose(before[:, PLACE], after[:, PLACE], atol=1e-6).all(dim=1).any()


@pytest.mark.parametrize(("model", "framework"), EVERY)
def test_a_step_scores_what_a_request_with_the_same_history_gets(
    model: str, framework: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tower, shown = tower_of(model, framework), shown_to(SEQUENCES)
    rows = (SEQUENCES.user_N, SEQUENCES.history_NL, shown.examples_NK, shown.similarity_NK)
    trained = vectors(tower, SEQUENCES, monkeypatch)
    asked = tower(*(values[LAST] for values in rows))
    torch.testing.assert_close(trained[:, -1], asked, atol=1e-5, rtol=1e-5)
    if not tower.backbone.causal:
        asked = tower(*(values[TRAIN] for values in rows)).view(trained.shape)
        torch.testing.assert_close(trained, asked, atol=1e-5, rtol=1e-5)
    assert (SEQUENCES.history_NL[TRAIN] == PAD).all(dim=1).sum() == USERS, "an empty history among them"
    assert (shown.examples_NK[LAST] > 0).any(dim=1).all()


def test_of_a_share_of_the_positions_no_example_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    tower, shown, given = tower_of("sasrec", "llm-cf"), shown_to(SEQUENCES), list[Tensor]()

    def record(context: InContextFeature, r_XD: Tensor, examples_XK: Tensor, *rest: object) -> tuple[Tensor, Tensor]:
        given.append(examples_XK)
        return r_XD, torch.zeros(())

    monkeypatch.setattr(InContextFeature, "train_on", record)
    for share in (0.0, 0.5):
        in_context = replace(tower.config.in_context, example_dropout=share)
        tower.config = replace(tower.config, in_context=in_context)
        objective.step_loss(tower, SEQUENCES, shown, LAST, torch.Generator().manual_seed(5))
    whole_PK, dropped_PK = given
    gone_P = (dropped_PK == 0).all(dim=1)
    assert 0.25 < float(gone_P.float().mean()) < 0.85
    assert torch.equal(dropped_PK[~gone_P], whole_PK[~gone_P])
