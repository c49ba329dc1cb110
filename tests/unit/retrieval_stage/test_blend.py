"""Scores with evidence added: the sum, and weights that are chosen on validation rows alone."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from core.contracts import FIRST_ID, SPLITS
from retrieval_stage import evaluation
from retrieval_stage.blend import UNSEEN, WEIGHTS, Blend
from retrieval_stage.evaluation import Score
from retrieval_stage.sequences import Sequences
from tests import in_memory

ITEMS = 30
SEQUENCES = Sequences.of(in_memory.training_rows(users=12, items=ITEMS, length=10))


def noise(seed: int) -> Score:
    score_NV = torch.randn(len(SEQUENCES), ITEMS, generator=torch.Generator().manual_seed(seed))
    return lambda index_B: score_NV[index_B].clone()


def knows(*splits: str) -> Score:
    """One for the true item of the rows of these splits, else nothing."""

    def evidence(index_B: Tensor) -> Tensor:
        found_BV = torch.zeros(len(index_B), ITEMS)
        known = torch.cat([SEQUENCES.of_split(split) for split in splits])
        at_B = torch.nonzero(torch.isin(index_B, known)).flatten()
        found_BV[at_B, SEQUENCES.item_N[index_B[at_B]] - FIRST_ID] = 1
        return found_BV

    return evidence


def test_evidence_is_added_by_its_weight_and_what_is_not_offered_stays_out() -> None:
    def score(index_B: Tensor) -> Tensor:
        score_BV = noise(1)(index_B)
        score_BV[:, 3] = -torch.inf
        return score_BV

    index_B = SEQUENCES.of_split("test")
    blend = Blend({"graph": noise(2), "text": noise(3)})
    found_BV = blend.scores(score, {"graph": 2.0, "text": 0.5})(index_B)
    assert_close(found_BV, score(index_B) + 2 * noise(2)(index_B) + 0.5 * noise(3)(index_B))
    assert (found_BV[:, 3] == -torch.inf).all()
    assert_close(blend.scores(score, {"graph": 0.0, "text": 0.0})(index_B), score(index_B))


def test_weights_are_those_that_validation_likes_best() -> None:
    blend = Blend({"graph": knows("valid"), "text": noise(3)})
    chosen = blend.tuned(noise(1), SEQUENCES)
    assert chosen["graph"] >= WEIGHTS["graph"][3]
    assert chosen["text"] == 0, "the smaller of equals"
    better = evaluation.metrics_of(blend.scores(noise(1), {"graph": 6.0}), SEQUENCES, SEQUENCES.of_split("valid"))
    assert (
        better["masked"]["ndcg@10"]
        > evaluation.metrics_of(noise(1), SEQUENCES, SEQUENCES.of_split("valid"))["masked"]["ndcg@10"]
    )


@pytest.mark.parametrize("other", ["train", "test"])
def test_weights_do_not_depend_on_other_rows(other: str) -> None:
    plain = Blend({"graph": noise(2), "text": noise(3)}).tuned(noise(1), SEQUENCES)

    def told(index_B: Tensor) -> Tensor:
        return noise(2)(index_B) + 9 * knows(other)(index_B)

    assert Blend({"graph": told, "text": noise(3)}).tuned(noise(1), SEQUENCES) == plain


@pytest.mark.parametrize(("share", "wanted"), [(1.0, True), (0.0, False)])
def test_unseen_items_are_lifted_where_validation_takes_them(share: float, wanted: bool) -> None:
    taken = SEQUENCES.item_N[SEQUENCES.of_split("valid")] - FIRST_ID
    unseen_V = torch.zeros(ITEMS)
    unseen_V[taken if share else torch.tensor([i for i in range(ITEMS) if i not in taken.tolist()])] = 1
    blend = Blend({"graph": noise(2), "text": noise(3), UNSEEN: lambda index_B: unseen_V.repeat(len(index_B), 1)})
    chosen = blend.tuned(noise(1), SEQUENCES)
    assert list(chosen) == ["graph", "text", UNSEEN]
    assert (chosen[UNSEEN] > 0) == wanted


def test_what_nobody_had_taken_by_the_end_of_validation_holds_no_unseen_item_back() -> None:
    """It was not there yet: that it would be in the others' way says nothing of the weight."""
    taken = {name: SEQUENCES.item_N[SEQUENCES.of_split(name)] - FIRST_ID for name in SPLITS}
    later = int(taken["test"][0])
    sequences = replace(SEQUENCES, item_N=SEQUENCES.item_N.clone())
    earlier_N = torch.cat([sequences.of_split(name) for name in ("train", "valid")])
    earlier_N = earlier_N[sequences.item_N[earlier_N] - FIRST_ID == later]
    sequences.item_N[earlier_N] = FIRST_ID + (later + 1) % ITEMS
    found = sequences.item_N[sequences.of_split("valid")] - FIRST_ID
    unseen_V = torch.zeros(ITEMS)
    unseen_V[[int(found[0]), later]] = 1

    def score(index_B: Tensor) -> Tensor:
        score_BV = 0.1 * noise(1)(index_B) + 3 * knows("valid")(index_B)
        score_BV[:, found[0]] -= 3  # it takes a weight to find it
        score_BV[:, later] += 2.5  # and the same weight puts this one before all that is right
        return score_BV

    blend = Blend({UNSEEN: lambda index_B: unseen_V.repeat(len(index_B), 1)})
    assert blend.tuned(score, sequences)[UNSEEN] == 1
    everybody = replace(sequences, item_N=sequences.item_N.clone())
    everybody.item_N[everybody.of_split("train")[0]] = FIRST_ID + later
    assert blend.tuned(score, everybody)[UNSEEN] == 0, "what was there is in the way"
