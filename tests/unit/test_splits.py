import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.data.splits import positions, sequence_order, split_codes
from core.errors import UsageError

TRAIN, VALID, TEST = 0, 1, 2
events = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), min_size=1, max_size=40)


def test_leave_one_out_takes_the_last_two_of_a_user_with_three():
    user = np.array([2, 2, 2, 2, 3, 3, 4, 4, 4])
    codes = split_codes(user, np.zeros(9, dtype=int), "published")
    assert codes.tolist() == [TRAIN, TRAIN, VALID, TEST, TRAIN, TRAIN, TRAIN, VALID, TEST]


def test_no_held_out_row_is_an_error():
    with pytest.raises(UsageError, match="valid split"):
        split_codes(np.array([2, 2, 3, 3]), np.zeros(4, dtype=int), "shuffled-ties")


def test_global_time_keeps_a_day_together():
    day = np.repeat(np.arange(20), 5)
    codes = split_codes(np.zeros(100, dtype=int), day, "global-time")
    assert [int((codes == code).sum()) for code in (TRAIN, VALID, TEST)] == [80, 10, 10]
    assert all(len(set(codes[day == one])) == 1 for one in range(20))


def test_published_order_keeps_ties_as_the_source_has_them():
    order = sequence_order(np.array([3, 2, 2, 2]), np.array([5, 9, 7, 9]), "published", seed=1)
    assert order.tolist() == [2, 1, 3, 0]


@given(events, st.integers(0, 3))
def test_shuffling_moves_ties_only(rows, seed):
    user, timestamp = (np.array(column) for column in zip(*rows, strict=True))
    order = sequence_order(user, timestamp, "shuffled-ties", seed)
    assert sorted(order.tolist()) == list(range(len(rows)))
    assert [(user[i], timestamp[i]) for i in order] == sorted(zip(user, timestamp, strict=True))
    assert (order == sequence_order(user, timestamp, "shuffled-ties", seed)).all()


def test_shuffling_does_move_ties():
    user = timestamp = np.zeros(50, dtype=int)
    assert sequence_order(user, timestamp, "shuffled-ties", 1).tolist() != list(range(50))


def test_positions_count_within_a_user():
    assert positions(np.array([2, 2, 2, 5, 5])).tolist() == [0, 1, 2, 0, 1]
