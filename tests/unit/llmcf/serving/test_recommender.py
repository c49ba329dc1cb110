"""Parts of a recommender that need no server."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ict.exact import Exact
from llmcf.serving.recommender import Recommender
from retrieval_stage.candidates import CandidateSearch
from retrieval_stage.item_space import ItemSpace
from retrieval_stage.items import ItemReplica


@pytest.fixture
def recommender() -> Recommender:
    vectors = np.array([[2, 0], [1, 1], [0, 3], [-1, 0]], dtype=np.float32)
    items = ItemReplica("items_1", Exact(np.array([2, 3, 5, 8]), vectors, {}))
    nothing: Any = SimpleNamespace()
    return Recommender(
        release=nothing,
        catalogue=nothing,
        users=nothing,
        taken=lambda _: np.array([], dtype=np.int64),
        features=nothing,
        search=CandidateSearch(items=items, space=ItemSpace()),
        examples=None,
    )


@pytest.mark.parametrize("count", [2, 3, 99])
def test_what_is_like_an_item_is_never_itself(recommender: Recommender, count: int) -> None:
    found = recommender.like(2, count)
    assert found.item_C.tolist() == [3, 5, 8][:count]
    assert found.score_C is not None
    np.testing.assert_allclose(found.score_C, np.array([0.5**0.5, 0, -1])[:count], atol=1e-6)
