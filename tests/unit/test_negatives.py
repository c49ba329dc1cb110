import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.contracts import FIRST_ID
from core.data.negatives import uniform
from core.errors import UsageError

ITEMS = 8
takes = st.dictionaries(st.integers(2, 6), st.lists(st.integers(0, ITEMS - 1), min_size=1, max_size=7), min_size=1)


@given(takes, st.integers(0, 5))
def test_a_negative_is_an_item_its_user_never_takes(taken, seed):
    pairs = [(user, item + FIRST_ID) for user in sorted(taken) for item in taken[user]]
    user, item = (np.array(column) for column in zip(*pairs, strict=True))
    negative = uniform(user, item, ITEMS, seed)
    assert ((negative >= FIRST_ID) & (negative < FIRST_ID + ITEMS)).all()
    assert not set(zip(user.tolist(), negative.tolist(), strict=True)) & set(pairs)


def test_every_free_item_is_equally_likely():
    user = np.full(40_000, 2)
    item = np.tile([3, 5], 20_000)
    negative = uniform(user, item, ITEMS, seed=3)
    counts = np.bincount(negative - FIRST_ID, minlength=ITEMS)
    assert counts[[1, 3]].tolist() == [0, 0]
    assert np.abs(counts[[0, 2, 4, 5, 6, 7]] / 40_000 - 1 / 6).max() < 0.01


def test_the_seed_decides():
    user, item = np.full(30, 2), np.full(30, 2)
    first, again, other = (uniform(user, item, 100, seed) for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


def test_a_user_who_has_everything_is_an_error():
    with pytest.raises(UsageError, match="user row 4"):
        uniform(np.full(3, 4), np.arange(3) + FIRST_ID, 3, seed=0)
