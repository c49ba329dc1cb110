"""The replica shows what training's exact search shows, without torch's help."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core.contracts import UNKNOWN
from core.errors import UsageError
from ict import examples as of_training
from ict.examples import ExampleSet, Requests
from ict.index import request
from ict.neighbours import ExactSearch, NeighbourConfig
from ict.replica import Selection, ServingReplica
from ict.shown import Shown, shuffled_order
from tests import in_memory

ROWS = in_memory.training_rows(users=12, items=30, length=8)
REQUESTS = Requests.of(ROWS)
ITEMS_C = torch.arange(0, 32)


def example_set(*, coarse: bool) -> ExampleSet:
    """With `coarse` vectors of one coordinate, so that many examples are equally near."""
    made = in_memory.example_set(ROWS, count=90)
    if not coarse:
        return made
    vectors_VE = torch.eye(16)[torch.arange(len(made.item_vectors_VE)) % 3]
    vectors_VE[:2] = 0
    sample_N = made.row_M[1:]
    return ExampleSet.of(ROWS, sample_N, made.cot_ME[1:], vectors_VE)


SETS = {coarse: example_set(coarse=coarse) for coarse in (False, True)}


@settings(max_examples=60, deadline=None)
@given(
    recipe=st.sampled_from(["strict", "best", "paper"]),
    row=st.integers(0, len(REQUESTS) - 1),
    later=st.integers(-20, 20),
    seed=st.integers(0, 3000),
    count=st.sampled_from([2, 4, 8]),
    constrained=st.booleans(),
    coarse=st.booleans(),
)
def test_what_training_shows(
    recipe: str, row: int, later: int, seed: int, count: int, constrained: bool, coarse: bool
) -> None:
    examples = SETS[coarse]
    chosen = {"recipe": recipe, "seed": seed, "count": count, "constrained": constrained}
    ours = ServingReplica(
        in_memory.stored(examples),
        examples.item_vectors_VE.numpy(),
        ranking=Selection(**chosen),
        retrieval=Selection(**chosen),
    )
    one = REQUESTS.slice(row, row + 1)
    user, position, day = int(one.user_B), int(one.position_B), int(one.day_B) + later
    who = {"user": user, "position": position, "day": day, "history_L": one.history_BL[0].numpy()}
    asked = request(user, position, day, one.history_BL[0], ITEMS_C)
    exact = ExactSearch(examples.candidates(), examples.item_vectors_VE, NeighbourConfig(stage="ranking", **chosen))
    same(ours.for_ranking(**who, items_C=ITEMS_C.numpy()), exact, asked)
    of_user = ExactSearch(examples.candidates(), examples.item_vectors_VE, NeighbourConfig(stage="retrieval", **chosen))
    same(ours.for_retrieval(**who), of_user, request(user, position, day, one.history_BL[0], torch.zeros(1).long()))


def same(shown: Shown, exact: ExactSearch, asked: Requests) -> None:
    """The same similarities, and the same examples in the same order but where equally near ones stand for others."""
    wanted_CK, wanted_similarity_CK = (found.numpy() for found in exact(asked))
    numbers_CK, similarity_CK = shown.examples_CK, shown.similarity_CK
    assert (numbers_CK.dtype, similarity_CK.dtype) == (np.int64, np.float32)
    there_CK, allowed_CM = numbers_CK > 0, of_training.eligible(exact.config.recipe, exact.candidates, asked).numpy()
    score_CK, allowed_CK = (
        np.take_along_axis(one, numbers_CK, axis=1) for one in (exact.scores(asked).numpy(), allowed_CM)
    )
    assert allowed_CK[there_CK].all()
    np.testing.assert_allclose(similarity_CK, np.where(there_CK, score_CK, 0), atol=1e-6)
    np.testing.assert_allclose(np.sort(similarity_CK), np.sort(wanted_similarity_CK), atol=1e-6)
    if exact.config.constrained:
        label_M = exact.candidates.label_M.numpy() + 1
        of_label = [np.sort(label_M[one] * (one > 0)) for one in (numbers_CK, wanted_CK)]
        np.testing.assert_array_equal(of_label[0], of_label[1])
    tied_C = ties(exact.scores(asked).numpy(), allowed_CM, numbers_CK, exact)
    np.testing.assert_array_equal(numbers_CK[~tied_C], wanted_CK[~tied_C])
    np.testing.assert_allclose(similarity_CK[~tied_C], wanted_similarity_CK[~tied_C], atol=1e-6)


def ties(score_CM: np.ndarray, allowed_CM: np.ndarray, numbers_CK: np.ndarray, exact: ExactSearch) -> np.ndarray:
    """Whether an example that was not shown is as near as one that was, (C,)."""
    group_M = exact.candidates.label_M.numpy() if exact.config.constrained else np.zeros(score_CM.shape[1])
    others_CM = allowed_CM.copy()
    np.put_along_axis(others_CM, numbers_CK, values=False, axis=1)
    score_CK = np.take_along_axis(score_CM, numbers_CK, axis=1)
    near_CMK = np.abs(score_CM[:, :, None] - score_CK[:, None]) < 1e-6
    near_CMK &= (group_M[:, None] == group_M[numbers_CK][:, None]) & (numbers_CK > 0)[:, None]
    return (near_CMK & others_CM[:, :, None]).any(axis=(1, 2))


def test_new_items_are_shown_what_their_texts_find() -> None:
    """As a known item of the same text, in the order of the id by which graphs know them."""
    examples, chosen = SETS[False], Selection(recipe="strict", seed=5)
    ours = ServingReplica(
        in_memory.stored(examples), examples.item_vectors_VE.numpy(), ranking=chosen, retrieval=chosen
    )
    who = {"user": 3, "position": 4, "day": 30, "history_L": REQUESTS.history_BL[60].numpy()}
    items_C = np.array([2, 9, 17])
    known = ours.for_ranking(**who, items_C=items_C)
    new = ours.for_new_items(**who, text_CE=examples.item_vectors_VE.numpy()[items_C])
    np.testing.assert_array_equal(np.sort(new.examples_CK), np.sort(known.examples_CK))
    for nth, numbers_K in enumerate(new.examples_CK):
        order_K = shuffled_order(known.examples_CK[nth : nth + 1], 3, np.array([UNKNOWN]), 5)[0]
        np.testing.assert_array_equal(numbers_K, known.examples_CK[nth][order_K])
        np.testing.assert_allclose(new.similarity_CK[nth], known.similarity_CK[nth][order_K], atol=1e-6)


def test_nothing_is_shown_before_the_first_day() -> None:
    examples, chosen = SETS[False], Selection(recipe="strict", seed=5)
    ours = ServingReplica(
        in_memory.stored(examples), examples.item_vectors_VE.numpy(), ranking=chosen, retrieval=chosen
    )
    shown = ours.for_ranking(user=3, position=0, day=0, history_L=np.zeros(20, dtype=np.int64), items_C=np.arange(2, 5))
    assert shown.examples_CK.tolist() == [[0] * 4] * 3
    assert shown.similarity_CK.tolist() == [[0.0] * 4] * 3


def test_an_unknown_recipe_is_refused() -> None:
    with pytest.raises(UsageError, match="recipe 'lax'"):
        Selection(recipe="lax", seed=1)
