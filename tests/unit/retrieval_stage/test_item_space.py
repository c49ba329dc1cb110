"""Vectors of the index."""

import numpy as np
import pytest

from core.errors import LlmcfError
from retrieval_stage.item_space import ItemSpace
from retrieval_stage.text_map import TextMap

ITEM_XD, TEXT_XE = np.full((3, 2), 2.0, dtype=np.float32), np.full((3, 4), 4.0, dtype=np.float32)
MAP = TextMap(np.full((4, 2), 0.25, dtype=np.float32), np.array([0, 1], dtype=np.float32), np.ones(1, dtype=bool))


def test_what_is_blended_in_comes_after_the_towers_vector() -> None:
    assert ItemSpace.under({"graph": 1.0, "text": 0.0}, None).learnt(ITEM_XD, None).tolist() == [[2, 2]] * 3
    assert ItemSpace.under({"text": 1.0}, None).learnt(ITEM_XD, TEXT_XE).tolist() == [[2, 2, 4, 4, 4, 4]] * 3
    assert ItemSpace.under({"text": 1.0, "unseen": 2.0}, MAP).learnt(ITEM_XD, TEXT_XE)[0].tolist() == [
        2,
        2,
        *[4] * 4,
        0,
    ]


def test_an_unseen_item_is_placed_by_its_text_alone() -> None:
    assert ItemSpace.under({"text": 1.0}, MAP).place(TEXT_XE).tolist() == [[4, 5, 4, 4, 4, 4]] * 3
    assert ItemSpace.under({"unseen": 3.0}, MAP).place(TEXT_XE).tolist() == [[4, 5, 1]] * 3
    assert ItemSpace.under({}, MAP).place(TEXT_XE).tolist() == [[4, 5]] * 3
    with pytest.raises(LlmcfError, match="places no item that it has not learnt"):
        ItemSpace(with_text=True).place(TEXT_XE)


@pytest.mark.parametrize(
    ("blend", "expected"),
    [
        ({"text": 2.0, "unseen": 1.0}, [1, 7, 8, 5]),
        ({"text": 2.0}, [1, 2, 7, 8]),
        ({"unseen": 1.0}, [1, 2, 3, 5]),
    ],
)
def test_the_texts_evidence_of_a_user_is_put_in_its_place(blend: dict[str, float], expected: list[float]) -> None:
    vector_W, evidence_E = np.array([1, 2, 3, 5], dtype=np.float32), np.array([7, 8], dtype=np.float32)
    found = ItemSpace.under(blend, None).with_last_text(vector_W, evidence_E)
    assert (found.tolist(), found.dtype) == (expected, np.float32)
