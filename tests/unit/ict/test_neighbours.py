"""Neighbours against a slow reference, and the leaks that must not happen."""

import pytest
import torch

from core.errors import UsageError
from ict import neighbours
from ict.examples import Requests, eligible, keys
from ict.neighbours import ExactSearch, NeighbourConfig, search_exact, shuffled_order
from tests import in_memory

ROWS = in_memory.training_rows()
REQUESTS = Requests.of(ROWS)
EXAMPLES = in_memory.example_set(ROWS)


def config(recipe: str, stage: str = "ranking", seed: int = 1) -> NeighbourConfig:
    return NeighbourConfig(stage=stage, recipe=recipe, seed=seed)


@pytest.mark.parametrize("recipe", ["strict", "paper"])
def test_neighbours_are_the_best_eligible_ones_of_each_label(recipe: str) -> None:
    """Against a plain sort of one request at a time; equal scores may stand for each other."""
    candidates = EXAMPLES.candidates()
    scores = keys(EXAMPLES.item_vectors_VE, REQUESTS.history_BL, REQUESTS.item_B) @ candidates.key_MX.T
    allowed = eligible(recipe, candidates, REQUESTS)
    examples_NK, similarity_NK = search_exact(EXAMPLES, REQUESTS, config(recipe))
    for row in range(len(REQUESTS)):
        best: list[float] = []
        for label in (0, 1):
            of_label = scores[row, allowed[row] & (candidates.label_M == label)]
            best += of_label.sort(descending=True).values[:2].tolist()
        shown = examples_NK[row] > 0
        numbers = examples_NK[row, shown]
        assert sorted(similarity_NK[row, shown].tolist()) == pytest.approx(sorted(best), abs=1e-5)
        assert scores[row, numbers].tolist() == pytest.approx(similarity_NK[row, shown].tolist(), abs=1e-5)
        assert allowed[row, numbers].all()
        assert len(set(numbers.tolist())) == len(numbers)


def test_the_more_examples_the_fewer_rows_are_searched_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the scores in memory are bounded; what is found is the same."""
    search = ExactSearch(EXAMPLES.candidates(), EXAMPLES.item_vectors_VE, config("strict"))
    at_once = search_exact(EXAMPLES, REQUESTS, config("strict"))
    monkeypatch.setattr(neighbours, "_SCORES", 3 * len(EXAMPLES.row_M) + 1)
    assert search.batch == 3
    in_parts = search_exact(EXAMPLES, REQUESTS, config("strict"))
    assert in_parts[0].equal(at_once[0])
    assert torch.allclose(in_parts[1], at_once[1], atol=1e-6)
    monkeypatch.setattr(neighbours, "_SCORES", 1)
    assert search.batch == 1, "one is always searched"


@pytest.mark.parametrize("stage", ["ranking", "retrieval"])
@pytest.mark.parametrize("recipe", ["strict", "best"])
def test_no_example_is_of_the_requests_day_or_later(recipe: str, stage: str) -> None:
    examples_NK, _ = search_exact(EXAMPLES, REQUESTS, config(recipe, stage))
    shown = examples_NK > 0
    assert shown.any()
    assert (EXAMPLES.day_M[examples_NK] < REQUESTS.day_B[:, None])[shown].all()
    row_N = torch.arange(len(REQUESTS))[:, None]
    assert not (EXAMPLES.row_M[examples_NK] // 2 == row_N // 2)[shown].any(), "a row found itself or its pair"


def test_under_the_paper_rule_rows_find_themselves() -> None:
    examples_NK, similarity_NK = search_exact(EXAMPLES, REQUESTS, config("paper"))
    itself_NK = EXAMPLES.row_M[examples_NK] == torch.arange(len(REQUESTS))[:, None]
    sampled = EXAMPLES.row_M[1:]
    with_history = sampled[REQUESTS.position_B[sampled] > 0]
    assert itself_NK.any(dim=1)[with_history].all(), "a row of the CoT set is its own nearest neighbour"
    assert (similarity_NK[with_history][itself_NK[with_history]] > 0.999).all()


def test_missing_examples_are_zero_with_zero_similarity() -> None:
    examples_NK, similarity_NK = search_exact(EXAMPLES, REQUESTS, config("strict"))
    first_day = REQUESTS.day_B == REQUESTS.day_B.min()
    assert (examples_NK[first_day] == 0).all()
    assert (similarity_NK[examples_NK == 0] == 0).all()


def test_a_set_with_one_label_or_a_single_example_leaves_the_rest_empty() -> None:
    lonely = in_memory.example_set(ROWS, count=1)
    examples_NK, _ = search_exact(lonely, REQUESTS, config("paper"))
    assert examples_NK.shape == (len(REQUESTS), 4)
    assert set(examples_NK.sum(dim=1).tolist()) <= {0, 1}


def test_retrieval_ignores_the_target_item() -> None:
    examples_NK, similarity_NK = search_exact(EXAMPLES, REQUESTS, config("strict", "retrieval"))
    assert torch.equal(examples_NK[0::2], examples_NK[1::2])
    assert similarity_NK.max() > 0.5


def test_order_is_seeded_and_mixes_labels() -> None:
    first, _ = search_exact(EXAMPLES, REQUESTS, config("strict", seed=1))
    again, _ = search_exact(EXAMPLES, REQUESTS, config("strict", seed=1))
    other, _ = search_exact(EXAMPLES, REQUESTS, config("strict", seed=2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(first.sort(dim=1).values, other.sort(dim=1).values)


def test_order_is_uniform_over_places() -> None:
    numbers = torch.randint(1, 2000, (4000, 4), generator=torch.Generator().manual_seed(0))
    users, items = torch.arange(4000) // 40, torch.arange(4000) % 1700
    place = shuffled_order(numbers, users, items, seed=3).argsort(dim=1)
    assert place.float().mean(dim=0) == pytest.approx([1.5] * 4, abs=0.06)


def test_unconstrained_neighbours_are_the_nearest_whatever_their_label() -> None:
    candidates = EXAMPLES.candidates()
    scores = keys(EXAMPLES.item_vectors_VE, REQUESTS.history_BL, REQUESTS.item_B) @ candidates.key_MX.T
    scores.masked_fill_(~eligible("strict", candidates, REQUESTS), -torch.inf)
    free = NeighbourConfig(stage="ranking", recipe="strict", seed=1, count=3, constrained=False)
    found, similarity = search_exact(EXAMPLES, REQUESTS, free)
    best = scores.topk(3, dim=1).values
    expected = best.masked_fill(best == -torch.inf, 0).sort(dim=1).values
    torch.testing.assert_close(similarity.sort(dim=1).values, expected)
    assert torch.equal((found > 0).sum(dim=1), (best > -torch.inf).sum(dim=1))


def test_no_neighbours_and_odd_numbers_of_them() -> None:
    none = NeighbourConfig(stage="ranking", recipe="strict", seed=1, count=0)
    found, similarity = search_exact(EXAMPLES, REQUESTS, none)
    assert found.shape == similarity.shape == (len(REQUESTS), 0)
    with pytest.raises(UsageError, match="3 examples do not split"):
        NeighbourConfig(stage="ranking", recipe="strict", seed=1, count=3)


def test_what_is_stored_does_not_depend_on_the_seed_or_on_best() -> None:
    one, other = config("strict", seed=1), config("best", seed=2)
    assert one.folder == other.folder == "ranking-strict"
    named = NeighbourConfig(stage="ranking", recipe="paper", seed=1, count=6, constrained=False, cot_set="base")
    assert named.folder == "ranking-paper-k6-unconstrained-base"
