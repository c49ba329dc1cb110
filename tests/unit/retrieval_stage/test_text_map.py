"""The map from texts into the item space."""

from pathlib import Path

import numpy as np
import pytest

from core.contracts import FIRST_ID
from retrieval_stage.text_map import FILE, TextMap

V, E, D = 400, 6, 4
WEIGHT_ED = np.random.default_rng(0).normal(size=(E, D)).astype(np.float32)
TEXT_VE = np.random.default_rng(1).normal(size=(V, E)).astype(np.float32)
TEXT_VE /= np.linalg.norm(TEXT_VE, axis=1, keepdims=True)


def test_it_finds_a_linear_map_and_places_items_that_it_did_not_see() -> None:
    item_VD = TEXT_VE @ WEIGHT_ED + 0.3
    taken_V = np.full(V, 20)
    taken_V[:100] = 0
    item_VD[:100] = 9.0  # what an item that nobody took holds is not looked at
    found = TextMap.fit(TEXT_VE, item_VD, taken_V)
    np.testing.assert_allclose(found(TEXT_VE[:100]), TEXT_VE[:100] @ WEIGHT_ED + 0.3, atol=0.02)


def test_what_was_taken_seldom_counts_less() -> None:
    item_VD = TEXT_VE @ WEIGHT_ED
    noise = np.random.default_rng(2).normal(size=(V, D))
    taken_V = np.where(np.arange(V) % 2 == 0, 100, 1)
    noisy_VD = np.where((taken_V == 1)[:, None], item_VD + noise, item_VD)
    gaps = [
        np.abs(TextMap.fit(TEXT_VE, noisy_VD, taken)(TEXT_VE) - item_VD).mean() for taken in (taken_V, np.full(V, 100))
    ]
    assert gaps[0] < 0.8 * gaps[1]


def test_nothing_taken_is_refused() -> None:
    with pytest.raises(ValueError, match="no item was taken"):
        TextMap.fit(TEXT_VE, TEXT_VE @ WEIGHT_ED, np.zeros(V))


def test_it_is_the_same_after_it_was_stored(tmp_path: Path) -> None:
    made = TextMap.fit(TEXT_VE, TEXT_VE @ WEIGHT_ED, np.minimum(np.arange(V), 1))
    made.save(tmp_path / FILE)
    again = TextMap.load(tmp_path / FILE)
    np.testing.assert_array_equal(again(TEXT_VE), made(TEXT_VE))
    ids = np.array([FIRST_ID, FIRST_ID + 1, FIRST_ID + V - 1, FIRST_ID + V, 10**6])
    for one in (made, again):
        assert one.learnt(ids).tolist() == [False, True, True, False, False], (
            "the first was not taken, the last came later"
        )
