"""Dated states and the reference that Feast's join is held against, on sequences small enough to read."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import schemas
from core.contracts import CATEGORIES, HISTORY
from core.data import asof, features, tables
from core.data.audit import history_violations, negative_violations, popularity_violations


def log1p(*counts):
    return [np.log1p(count).astype(np.float32).item() for count in counts]


def day_of(state):
    return state["event_timestamp"].timestamp() // 86_400


def test_a_user_state_holds_what_came_before_its_position():
    user, item, day = (np.array(column) for column in ([2, 2, 3], [7, 8, 9], [100, 100, 105]))
    states = features.user_snapshots(user, item, day).to_pylist()
    assert [state["user"] for state in states] == [2, 2, 2, 3, 3]
    assert [state["history"][-2:] for state in states] == [[0, 0], [0, 7], [7, 8], [0, 0], [0, 9]]
    assert [state["activity"] for state in states] == log1p(0, 1, 2, 0, 1)
    assert {len(state["history"]) for state in states} == {HISTORY}
    since_day_100 = [(state["event_timestamp"].timestamp() - 100 * 86_400) for state in states[:3]]
    assert since_day_100 == pytest.approx([0, 0.001, 0.002])


def test_a_long_history_keeps_the_newest():
    taken = np.arange(100, 100 + HISTORY + 5)
    states = features.user_snapshots(np.full(len(taken), 2), taken, np.arange(len(taken)))
    assert states["history"][-1].as_py() == taken[-HISTORY:].tolist()


def test_popularity_changes_the_day_after_and_leaves_the_window_after_thirty_days():
    item, day = np.array([5, 5, 6]), np.array([10, 12, 60])
    states = features.item_states(item, day, catalogue=np.array([5, 6, 7])).to_pylist()
    found = [(row["item"], day_of(row), row["popularity"], row["popularity_30d"]) for row in states]
    of_5 = [(5, 10, 0, 0), (5, 11, 1, 1), (5, 13, 2, 2), (5, 41, 2, 1), (5, 43, 2, 0)]
    expected = [*of_5, (6, 10, 0, 0), (6, 61, 1, 1), (7, 10, 0, 0)]
    assert found == [(i, d, *log1p(total, recent)) for i, d, total, recent in expected]


def naive_training_row(row, interactions):
    """The features of one row, in the words of the leak rule."""
    earlier = [x["item"] for x in interactions if x["user"] == row["user"] and x["position"] < row["position"]]
    days = [row["day"] - x["day"] for x in interactions if x["item"] == row["item"] and x["day"] < row["day"]]
    history = [0] * (HISTORY - len(earlier[-HISTORY:])) + earlier[-HISTORY:]
    return [history, *log1p(len(earlier), len(days), sum(age <= features.WINDOW for age in days))]


def test_the_reference_says_what_the_leak_rule_says(tiny):
    interactions, rows = tables.interactions(tiny).to_pylist(), tables.training_rows(tiny)
    for place in range(0, rows.num_rows, 7):
        row = rows.slice(place, 1).to_pylist()[0]
        assert [row[name] for name in asof.FEATURES] == naive_training_row(row, interactions)


def test_dated_states_joined_by_hand_equal_the_reference(tiny):
    """The newest state at or before a row's time, which is what Feast joins."""
    rows = tables.training_rows(tiny).to_pylist()
    built = features.compute(tables.interactions(tiny), tables.items(tiny), tables.users(tiny))
    day, position, label = (np.array([row[name] for row in rows]) for name in ("day", "position", "label"))
    times = features.event_times(day, position, label == 0).to_pylist()
    for view, key in (("user_history", "user"), ("item_popularity", "item")):
        states: dict[int, list] = {}
        for state in built[view].to_pylist():
            states.setdefault(state[key], []).append(state)
        for row, time in zip(rows[::5], times[::5], strict=True):
            state = [state for state in states[row[key]] if state["event_timestamp"] <= time][-1]
            assert all(row[name] == value for name, value in state.items() if name in asof.FEATURES)


@given(st.lists(st.integers(0, 100), min_size=1, max_size=30), st.integers(1, 5))
def test_a_state_never_counts_its_own_day(days, items):
    day = np.array(days)
    item = 2 + day % items
    for state in features.item_states(item, day, np.unique(item)).to_pylist():
        total = sum(1 for i, d in zip(item, day, strict=True) if i == state["item"] and d < day_of(state))
        assert state["popularity"] == log1p(total)[0]


def test_category_ids_are_padded(tiny):
    built = features.compute(tables.interactions(tiny), tables.items(tiny), tables.users(tiny))
    ids = built["item_attributes"]["category_ids"].to_pylist()
    assert {len(row) for row in ids} == {CATEGORIES}


def planted(rows: pa.Table, name: str, row: int, value: object) -> pa.Table:
    values = rows[name].to_pylist()
    values[row] = value
    column = pa.array(values, schemas.TRAINING_ROWS.field(name).type)
    return rows.set_column(rows.schema.get_field_index(name), name, column)


def same_day_row(rows: pa.Table, interactions: pa.Table) -> int:
    """A row whose item somebody takes on the very day of the row."""
    taken = set(zip(interactions["item"].to_pylist(), interactions["day"].to_pylist(), strict=True))
    pairs = zip(rows["item"].to_pylist(), rows["day"].to_pylist(), strict=True)
    return next(row for row, pair in enumerate(pairs) if pair in taken)


def test_clean_tables_pass_the_audit(tiny):
    rows, interactions = tables.training_rows(tiny), tables.interactions(tiny)
    for check in (history_violations, popularity_violations, negative_violations):
        assert check(rows, interactions).tolist() == []


def test_a_later_item_in_a_history_is_caught(tiny):
    rows, interactions = tables.training_rows(tiny), tables.interactions(tiny)
    row = 6
    leak = [*rows["history"][row].as_py()[1:], rows["item"][row].as_py()]
    assert history_violations(planted(rows, "history", row, leak), interactions).tolist() == [row]
    assert asof.differences(planted(rows, "history", row, leak), rows)["history"].tolist() == [row]


def test_a_same_day_count_is_caught(tiny):
    rows, interactions = tables.training_rows(tiny), tables.interactions(tiny)
    row = same_day_row(rows, interactions)
    inclusive = np.log1p(np.expm1(rows["popularity"][row].as_py()) + 1)
    leaked = planted(rows, "popularity", row, inclusive)
    assert popularity_violations(leaked, interactions).tolist() == [row]
    assert asof.differences(leaked, rows)["popularity"].tolist() == [row]


def test_a_missing_feature_is_a_difference(tiny):
    rows = tables.training_rows(tiny)
    assert asof.differences(planted(rows, "activity", 4, None), rows)["activity"].tolist() == [4]
    assert 4 in asof.differences(planted(rows, "history", 4, None), rows)["history"]


def test_a_taken_negative_is_caught(tiny):
    rows, interactions = tables.training_rows(tiny), tables.interactions(tiny)
    assert negative_violations(planted(rows, "item", 1, rows["item"][0].as_py()), interactions).tolist() == [1]
