"""Which line of the files stands for which push."""

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from core.contracts import DAY
from llmcf.feature_store.held import SAME_S, Held, unheld

NOON = 100 * DAY + DAY // 2
MOMENT = st.integers(99 * DAY, 102 * DAY) | st.just(100 * DAY)
EVENTS = st.lists(st.tuples(st.integers(2, 3), MOMENT), max_size=8)


def test_the_very_second_comes_before_what_is_near() -> None:
    held = Held([5], [NOON])
    assert held.without([(5, NOON - 60), (5, NOON)]) == [(5, NOON - 60)]
    assert Held([5], [NOON]).without([(5, NOON - SAME_S)]) == []
    assert Held([5], [NOON]).without([(5, NOON - SAME_S - 1), (6, NOON)]) == [(5, NOON - SAME_S - 1), (6, NOON)]


def test_a_line_of_a_day_is_any_time_of_it() -> None:
    held = Held([5], [100 * DAY])
    assert held.without([(5, NOON), (5, 101 * DAY + 9 * 3600)]) == [(5, 101 * DAY + 9 * 3600)]


def test_what_is_asked_before_a_push_is_not_used_up() -> None:
    held = Held([5], [NOON])
    assert held.holds(5, NOON + 60)
    assert held.absorb(5, NOON + 60)
    assert not held.absorb(5, NOON)
    assert held.holds(5, NOON)
    assert not held.holds(None, NOON)


@given(EVENTS, EVENTS)
def test_a_line_stands_for_one_event_at_most(lines: list[tuple[int, int]], events: list[tuple[int, int]]) -> None:
    left = Held([item for item, _ in lines], [time for _, time in lines]).without(events)
    assert len(set(events)) - len(left) <= len(lines)
    assert set(left) <= set(events)
    both = Held([item for item, _ in events], [time for _, time in events]).without(events)
    assert both == [], "files that hold all of it leave nothing"


def test_of_many_users_in_the_order_in_which_they_came() -> None:
    prepared = pa.table({"user": [2, 2, 3], "item": [5, 6, 5], "timestamp": [NOON, 100 * DAY, NOON]})
    came = [(4, 5, NOON), (3, 5, NOON + 60), (2, 6, NOON + 3600), (2, 5, NOON), (2, 5, NOON), (2, 7, NOON - 5)]
    assert unheld(came, prepared) == [(4, 5, NOON), (2, 7, NOON - 5)]
    assert unheld([], prepared) == []
