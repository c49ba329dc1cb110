"""Ranks over the whole catalogue: by hand, and against a slow twin."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core.contracts import FIRST_ID
from retrieval_stage import evaluation
from retrieval_stage.sequences import Sequences
from tests import in_memory

ITEMS, LENGTH = 12, 7
SEQUENCES = Sequences.of(in_memory.training_rows(users=3, items=ITEMS, length=LENGTH))
TEST = SEQUENCES.of_split("test")


def slow_ranks(score_V: list[float], index: int) -> tuple[int, int]:
    """(masked, unmasked) of one row, item by item."""
    position = int(SEQUENCES.position_N[index])
    seen = set(SEQUENCES.item_N[index - position : index].tolist())
    target = int(SEQUENCES.item_N[index])
    better = [i for i in range(FIRST_ID, FIRST_ID + ITEMS) if i != target and score_V[i - 2] >= score_V[target - 2]]
    return 1 + len(set(better) - seen), 1 + len(better)


@given(st.lists(st.lists(st.integers(0, 3), min_size=ITEMS, max_size=ITEMS), min_size=3, max_size=3))
@settings(max_examples=60, deadline=None)
def test_ranks_agree_with_a_slow_twin_even_with_ties(scores: list[list[float]]) -> None:
    table = torch.tensor(scores, dtype=torch.float32)
    masked, unmasked = evaluation.catalogue_ranks(lambda index: table[: len(index)], SEQUENCES, TEST)
    expected = [slow_ranks(row, int(index)) for row, index in zip(scores, TEST, strict=True)]
    assert list(zip(masked.tolist(), unmasked.tolist(), strict=True)) == expected


def test_the_true_item_first_is_rank_one_and_equal_scores_are_last() -> None:
    def oracle(index_B: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.one_hot(SEQUENCES.item_N[index_B] - FIRST_ID, ITEMS).float()

    masked, unmasked = evaluation.catalogue_ranks(oracle, SEQUENCES, TEST)
    assert masked.tolist() == unmasked.tolist() == [1, 1, 1]
    masked, unmasked = evaluation.catalogue_ranks(lambda index: torch.zeros(len(index), ITEMS), SEQUENCES, TEST)
    assert unmasked.tolist() == [ITEMS] * 3
    assert masked.tolist() == [ITEMS - (LENGTH - 1)] * 3, "what the user has seen cannot stand above"


def test_popularity_counts_training_rows_only() -> None:
    scores = evaluation.by_popularity(SEQUENCES, torch.ones(ITEMS, dtype=torch.bool))(TEST)
    assert scores.shape == (3, ITEMS)
    assert scores[0].sum() == len(SEQUENCES.of_split("train"))
    assert evaluation.summary(torch.tensor([1, 20]), torch.tensor([2, 3]))["masked"]["hit@10"] == 0.5


def test_what_is_not_offered_ranks_nowhere_even_where_nobody_took_anything() -> None:
    """The floor gives items that no training row took 0, which ties count as better than a target with 0."""
    offered = torch.ones(ITEMS, dtype=torch.bool)
    index = TEST[:1]
    target = int(SEQUENCES.item_N[index]) - FIRST_ID
    gone = [place for place in range(ITEMS) if place != target][:4]
    offered[gone] = False
    everything = evaluation.by_popularity(SEQUENCES, torch.ones(ITEMS, dtype=torch.bool))
    unmasked = evaluation.catalogue_ranks(everything, SEQUENCES, index)[1].item()
    fewer = evaluation.catalogue_ranks(evaluation.by_popularity(SEQUENCES, offered), SEQUENCES, index)[1].item()
    above = sum(bool(everything(index)[0][place] >= everything(index)[0][target]) for place in gone)
    assert above > 0
    assert fewer == unmasked - above
