"""Ranks over the whole catalogue: by hand, and against a slow twin."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core.contracts import FIRST_ID, PAD
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
    assert target not in seen
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


def test_an_item_taken_again_is_no_hit_where_what_was_taken_is_left_out() -> None:
    last = int(TEST[0])
    again = SEQUENCES.item_N.clone()
    again[last] = SEQUENCES.item_N[last - 1]
    sequences = replace(SEQUENCES, item_N=again)

    def oracle(index_B: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.one_hot(again[index_B] - FIRST_ID, ITEMS).float()

    ranked = evaluation.ranked_catalogue(oracle, sequences, TEST, top=4)
    assert ranked.unmasked_B.tolist() == [1, 1, 1]
    assert ranked.masked_B.tolist() == [ITEMS + 1, 1, 1]
    assert int(again[last]) not in ranked.top_BK[0].tolist()


def test_metrics_of_ranks_by_hand() -> None:
    assert evaluation.summary(torch.tensor([1, 20]), torch.tensor([2, 3]))["masked"]["hit@10"] == 0.5
    oracle_last = torch.arange(ITEMS).float().expand(3, -1)  # the higher the id, the better
    ranks = [slow_ranks(list(range(ITEMS)), int(index)) for index in TEST]
    found = evaluation.metrics_of(lambda index: oracle_last[: len(index)], SEQUENCES, TEST)
    assert found["masked"]["hit@5"] == sum(masked <= 5 for masked, _ in ranks) / 3
    assert found["unmasked"]["hit@5"] == sum(unmasked <= 5 for _, unmasked in ranks) / 3


def test_what_is_recommended_is_new_to_the_user_best_first_and_on_offer() -> None:
    scores = torch.arange(ITEMS).float()
    scores[[3, 11]] = -torch.inf  # not offered
    ranked = evaluation.ranked_catalogue(lambda index: scores.repeat(len(index), 1), SEQUENCES, TEST, top=4)
    for top_K, index in zip(ranked.top_BK.tolist(), TEST.tolist(), strict=True):
        seen = set(SEQUENCES.item_N[index - (LENGTH - 1) : index].tolist())
        left = [item for item in reversed(range(FIRST_ID, FIRST_ID + ITEMS)) if item - FIRST_ID not in (3, 11)]
        assert top_K == [item for item in left if item not in seen][:4]


def test_where_too_few_items_are_left_the_rest_is_padding() -> None:
    scores = torch.full((3, ITEMS), -torch.inf)
    ranked = evaluation.ranked_catalogue(lambda index: scores, SEQUENCES, TEST, top=5)
    assert ranked.top_BK.tolist() == [[PAD] * 5] * 3
    more = evaluation.ranked_catalogue(lambda index: torch.rand(3, ITEMS), SEQUENCES, TEST, top=ITEMS + 8)
    assert more.top_BK.shape == (3, ITEMS)
    assert ((more.top_BK == PAD).sum(dim=1) == LENGTH - 1).all(), "what the user has seen"


@pytest.mark.parametrize("chunk", [1, 2])
def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    table = torch.randint(0, 4, (len(SEQUENCES), ITEMS), generator=torch.Generator().manual_seed(1)).float()
    everything = torch.arange(len(SEQUENCES))
    whole = evaluation.ranked_catalogue(lambda index: table[index], SEQUENCES, everything, top=3)
    monkeypatch.setattr(evaluation, "CHUNK", chunk)
    parts = evaluation.ranked_catalogue(lambda index: table[index], SEQUENCES, everything, top=3)
    for name in ("masked_B", "unmasked_B", "top_BK"):
        assert torch.equal(getattr(parts, name), getattr(whole, name))
