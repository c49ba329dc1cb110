"""Dated states and the reference that Feast's join is held against, on sequences small enough to read."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.contracts import CATEGORIES, DENSE, HISTORY, NEIGHBOURS
from core.data import asof, dated, features, tables
from core.data.cooccurrence import neighbour_states
from core.data.histories import Attributes, user_states
from core.data.popularity import item_states

ATTRIBUTES = Attributes(
    np.array([0] * 7 + [4, 4, 0]),
    np.array([[0] * CATEGORIES] * 7 + [[2, 3, 0, 0, 0, 0], [3, 0, 0, 0, 0, 0], [5, 0, 0, 0, 0, 0]]),
)


def log1p(*counts):
    return [np.log1p(count).astype(np.float32).item() for count in counts]


def day_of(state):
    return state["event_timestamp"].timestamp() // 86_400


def test_a_user_state_holds_what_came_before_its_position():
    user, item, day = (np.array(column) for column in ([2, 2, 3], [7, 8, 9], [100, 100, 105]))
    states = user_states(user, item, day, np.array([1, 3, 9], dtype=np.float32), ATTRIBUTES).to_pylist()
    assert [state["user"] for state in states] == [2, 2, 2, 3, 3]
    assert [state["history"][-2:] for state in states] == [[0, 0], [0, 7], [7, 8], [0, 0], [0, 9]]
    assert [state["activity"] for state in states] == log1p(0, 1, 2, 0, 1)
    assert {len(state["history"]) for state in states} == {HISTORY}
    assert [state["history_days"][-2:] for state in states] == [[0, 0], [0, 100], [100, 100], [0, 0], [0, 105]]
    assert [state["history_brands"][-2:] for state in states] == [[0, 0], [0, 4], [4, 4], [0, 0], [0, 0]]
    assert [state["history_categories"][-6:] for state in states[:3]] == [[0] * 6, [2, 3, *[0] * 4], [3, *[0] * 5]]
    assert [state["taste_popularity"] for state in states] == [0, 1, 2, 0, 9]
    assert [state["brand_affinity"] for state in states] == [0, 1, 1, 0, 0]
    assert [state["category_affinity"] for state in states] == [0, 1, 1, 0, 1]
    since_day_100 = [(state["event_timestamp"].timestamp() - 100 * 86_400) for state in states[:3]]
    assert since_day_100 == pytest.approx([0, 0.001, 0.002])


def test_a_long_history_keeps_the_newest():
    taken = np.arange(100, 100 + HISTORY + 5)
    popularity = np.zeros(len(taken), dtype=np.float32)
    states = user_states(np.full(len(taken), 2), taken, np.arange(len(taken)), popularity, ATTRIBUTES)
    assert states["history"][-1].as_py() == taken[-HISTORY:].tolist()


def test_popularity_changes_the_day_after_and_leaves_each_window():
    item, day = np.array([5, 5, 6]), np.array([10, 12, 110])
    states = item_states(item, day, catalogue=np.array([5, 6, 7])).to_pylist()
    windows = ("popularity", "popularity_7d", "popularity_30d", "popularity_90d")
    found = [(row["item"], day_of(row), *(row[name] for name in windows), row["first_day"]) for row in states]
    of_5 = [(10, 0, 0, 0, 0), (11, 1, 1, 1, 1), (13, 2, 2, 2, 2), (18, 2, 1, 2, 2), (20, 2, 0, 2, 2), (41, 2, 0, 1, 2),
            (43, 2, 0, 0, 2), (101, 2, 0, 0, 1), (103, 2, 0, 0, 0), (111, 2, 0, 0, 0)]  # fmt: skip
    expected = [(5, d, *log1p(*counts), 10 * (d > 10)) for d, *counts in of_5]
    expected += [
        (6, 10, 0, 0, 0, 0, 0),
        (6, 111, *log1p(1, 1, 1, 1), 110),
        (7, 10, 0, 0, 0, 0, 0),
        (7, 111, 0, 0, 0, 0, 0),
    ]
    assert found == expected
    assert states[5]["trend"] == pytest.approx(np.log1p(1) - np.log1p(0.5))


def test_pairs_are_listed_from_the_period_after_the_later_day():
    user, item, day = (np.array(column) for column in ([2, 2, 2, 3, 3], [7, 8, 9, 8, 7], [0, 29, 31, 5, 60]))
    found = {
        (row["item"], day_of(row)): dict(zip(row["neighbours"], row["neighbour_counts"], strict=True))
        for row in neighbour_states(user, item, day).to_pylist()
    }
    assert found == {
        (7, 30): {8: 1, 0: 0}, (8, 30): {7: 1, 0: 0}, (9, 60): {7: 1, 8: 1, 0: 0}, (7, 60): {8: 1, 9: 1, 0: 0},
        (8, 60): {7: 1, 9: 1, 0: 0}, (7, 61): {8: 1, 9: 1, 0: 0}, (8, 61): {7: 1, 9: 1, 0: 0},
        (9, 61): {7: 1, 8: 1, 0: 0},
    }  # fmt: skip


def test_a_full_list_keeps_the_most_frequent():
    others = np.arange(100, 100 + NEIGHBOURS + 5)
    pairs = [(7, other) for other in [*others, others[-1]]]
    user = np.repeat(np.arange(len(pairs)), 2)
    last = neighbour_states(user, np.array(pairs).ravel(), np.full(len(user), 29)).to_pylist()[0]
    assert last["neighbours"] == [int(others[-1]), *range(100, 100 + NEIGHBOURS - 1)]
    assert last["neighbour_counts"] == [2] + [1] * (NEIGHBOURS - 1)


def naive_features(row, interactions, items):
    """The features of one row, in the words of the leak rule."""
    mine = [x for x in interactions if x["user"] == row["user"] and x["position"] < row["position"]]
    recent, day = mine[-HISTORY:], row["day"]

    def counts(item, day):
        ages = [day - x["day"] for x in interactions if x["item"] == item and x["day"] < day]
        return len(ages), *(sum(age <= window for age in ages) for window in (7, 30, 90))

    def share(labels):
        return max((labels.count(label) for label in labels if label), default=0) / max(len(recent), 1)

    def since(days):
        return np.log1p(day - max(days)) if days else -1

    total, week, month, quarter = counts(row["item"], day)
    brand, kinds = items[row["item"]]["brand_id"], set(items[row["item"]]["category_ids"])
    labels = [label for x in recent for label in items[x["item"]]["category_ids"]]
    alike = [x["day"] for x in recent if kinds & set(items[x["item"]]["category_ids"])]
    first = [x["day"] for x in interactions if x["item"] == row["item"] and x["day"] < day]
    return {
        "history": [0] * (HISTORY - len(recent)) + [x["item"] for x in recent],
        "activity": np.log1p(len(mine)),
        "taste_popularity": np.mean([np.log1p(counts(x["item"], x["day"])[0]) for x in recent] or [0]),
        "brand_affinity": share([items[x["item"]]["brand_id"] for x in recent]),
        "category_affinity": share(labels),
        "popularity": np.log1p(total),
        "popularity_7d": np.log1p(week),
        "popularity_30d": np.log1p(month),
        "popularity_90d": np.log1p(quarter),
        "trend": np.log1p(month) - np.log1p((quarter - month) / 2),
        "recency": since([x["day"] for x in mine[-1:]]),
        "item_age": since([min(first)] if first else []),
        "brand_count": np.log1p(sum(items[x["item"]]["brand_id"] == brand > 0 for x in recent)),
        "category_count": np.log1p(sum(label in kinds for label in labels)),
        "days_since_category": since(alike),
        "cooccurrence": np.log1p(naive_together(row, interactions, {x["item"] for x in recent})),
    }


def naive_together(row, interactions, history):
    pairs: dict[int, int] = {}
    for place, late in enumerate(interactions):
        for early in interactions[max(0, place - HISTORY) : place]:
            ends = {early["item"], late["item"]}
            listed = early["user"] == late["user"] and late["day"] // 30 < row["day"] // 30
            if listed and len(ends) == 2 and row["item"] in ends:
                (other,) = ends - {row["item"]}
                pairs[other] = pairs.get(other, 0) + 1
    best = sorted(pairs, key=lambda other: (-pairs[other], other))[:NEIGHBOURS]
    return sum(pairs[other] for other in best if other in history)


def test_the_reference_says_what_the_leak_rule_says(tiny):
    interactions, rows = tables.interactions(tiny).to_pylist(), tables.training_rows(tiny)
    items = {item["item"]: item for item in tables.items(tiny).to_pylist()}
    assert ["history", *DENSE] == asof.FEATURES
    for row in rows.take(pa.array(range(3, rows.num_rows, 9))).to_pylist():
        expected = naive_features(row, interactions, items)
        assert row["history"] == expected.pop("history")
        assert {name: row[name] for name in expected} == pytest.approx(expected, rel=1e-5, abs=1e-6), row["row"]


def test_dated_states_joined_by_hand_equal_the_reference(tiny):
    """The newest state at or before a row's time, which is what Feast joins."""
    rows = tables.training_rows(tiny).to_pylist()
    built = features.compute(tables.interactions(tiny), tables.items(tiny), tables.users(tiny))
    day, position, number = (np.array([row[name] for row in rows]) for name in ("day", "position", "row"))
    times = dated.row_times(day, position, number % 2).to_pylist()
    for view, key in (("user_history", "user"), ("item_popularity", "item")):
        states: dict[int, list] = {}
        for state in built[view].to_pylist():
            states.setdefault(state[key], []).append(state)
        for row, time in zip(rows[::5], times[::5], strict=True):
            state = [state for state in states[row[key]] if state["event_timestamp"] <= time][-1]
            known = {name: value for name, value in state.items() if name in DENSE}
            assert known
            assert {name: row[name] for name in known} == pytest.approx(known, rel=1e-5)
            assert "history" not in state or state["history"] == row["history"]


@given(st.lists(st.integers(0, 100), min_size=1, max_size=30), st.integers(1, 5))
def test_a_state_never_counts_its_own_day(days, items):
    day = np.array(days)
    item = 2 + day % items
    for state in item_states(item, day, np.unique(item)).to_pylist():
        total = sum(1 for i, d in zip(item, day, strict=True) if i == state["item"] and d < day_of(state))
        assert state["popularity"] == log1p(total)[0]


def test_category_ids_are_padded(tiny):
    built = features.compute(tables.interactions(tiny), tables.items(tiny), tables.users(tiny))
    ids = built["item_attributes"]["category_ids"].to_pylist()
    assert {len(row) for row in ids} == {CATEGORIES}
