"""Vectors of the index."""

import numpy as np

from retrieval_stage.item_space import ItemSpace

ITEM_XD, TEXT_XE = np.full((3, 2), 2.0, dtype=np.float32), np.full((3, 4), 4.0, dtype=np.float32)


def test_texts_come_after_the_towers_vector_where_they_are_blended_in() -> None:
    assert ItemSpace(with_text=True).of(ITEM_XD, TEXT_XE).tolist() == [[2, 2, 4, 4, 4, 4]] * 3
    assert ItemSpace(with_text=False).of(ITEM_XD, TEXT_XE).tolist() == [[2, 2]] * 3
    assert ItemSpace(with_text=False).of(ITEM_XD, None).tolist() == [[2, 2]] * 3
