"""Items that no training row has, after training."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from core.contracts import FIRST_ID, UNKNOWN
from retrieval_stage import unseen_items
from retrieval_stage.item_side import ItemFacts
from retrieval_stage.recipes import resolve
from retrieval_stage.sequences import Sequences
from retrieval_stage.user_tower import UserTower
from tests import in_memory

ITEMS, USERS = 60, 20
SEQUENCES = Sequences.of(in_memory.training_rows(users=USERS, items=ITEMS, length=6))
TEXTS = in_memory.item_vectors(ITEMS, width=8)
TAKEN = SEQUENCES.item_N[SEQUENCES.of_split("train")].unique()
UNSEEN = torch.tensor(sorted(set(range(FIRST_ID, ITEMS + FIRST_ID)) - set(TAKEN.tolist())))


def tower(*, item_text: bool = False) -> UserTower:
    """One whose learnt items stand exactly where a linear map of their texts puts them."""
    config = resolve(model="sasrec", framework="none", recipe="best", seed=1)
    config = replace(config, width=8, item_text=item_text, item_attributes=False)
    torch.manual_seed(1)
    known = torch.ones(USERS + FIRST_ID, dtype=torch.bool)
    made = UserTower(config, known_U=known, items=ITEMS + FIRST_ID, facts=ItemFacts(TEXTS) if item_text else None)
    with torch.no_grad():
        features = 0 if made.features is None else made.features()[TAKEN]
        made.item.weight[TAKEN] = 3 * TEXTS[TAKEN] + 1 - features
    return made.eval()


@pytest.mark.parametrize("item_text", [False, True])
def test_they_are_scored_where_their_texts_are_mapped_to_and_the_others_where_they_were(item_text: bool) -> None:
    assert len(UNSEEN) >= 5
    made = tower(item_text=item_text)
    before_VD = made.item_vectors().detach().clone()
    text_map = unseen_items.fit(made, SEQUENCES, TEXTS)
    unseen_items.place(made, text_map, TEXTS)
    after_VD = made.item_vectors().detach()
    assert_close(after_VD[UNSEEN - FIRST_ID], 3 * TEXTS[UNSEEN] + 1, atol=0.2, rtol=0)
    assert_close(after_VD[TAKEN - FIRST_ID], before_VD[TAKEN - FIRST_ID])
    assert text_map.learnt(UNSEEN.numpy()).sum() == 0
    assert text_map.learnt(TAKEN.numpy()).all()


def test_a_history_reads_them_as_unknown_and_the_weights_that_are_kept_too() -> None:
    made = tower()
    unseen_items.place(made, unseen_items.fit(made, SEQUENCES, TEXTS), TEXTS)
    again = tower()
    again.load_state_dict(made.state_dict())
    vectors = []
    for one, item in ((made, int(UNSEEN[0])), (made, UNKNOWN), (again, int(UNSEEN[0]))):
        history_BL = torch.zeros(1, 20, dtype=torch.int64)
        history_BL[0, -1] = item
        vectors.append(one(torch.tensor([FIRST_ID]), history_BL))
    assert_close(vectors[0], vectors[1])
    assert_close(vectors[0], vectors[2])


def test_what_later_rows_take_changes_nothing() -> None:
    held_out = torch.cat([SEQUENCES.of_split(split) for split in ("valid", "test")])
    item_N = SEQUENCES.item_N.clone()
    item_N[held_out] = UNSEEN[0]
    found = []
    for sequences in (SEQUENCES, replace(SEQUENCES, item_N=item_N)):
        made = tower()
        unseen_items.place(made, unseen_items.fit(made, sequences, TEXTS), TEXTS)
        found.append(made.item_vectors().detach().clone())
    assert torch.equal(*found)
