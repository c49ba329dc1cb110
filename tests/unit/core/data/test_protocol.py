"""Orders, splits and negatives, run by DuckDB on data small enough to check each row in the words of METHOD.md."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.contracts import DAY, FIRST_ID
from core.data import dataset
from core.data.protocol import Protocol, date_cuts
from core.data.relational import Job, run
from core.errors import UsageError

Event = tuple[str, str, int]
events = st.lists(
    st.tuples(st.sampled_from("uvwx"), st.sampled_from("abcdefgh"), st.integers(0, 6)), min_size=1, max_size=40
)


@pytest.fixture
def prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Rows and interactions of events (user, item, day), in their order."""
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path / "home"))
    number = iter(range(10_000))

    def work(lines: list[Event], order: str = "shuffled-ties", **options: Any) -> tuple[list[dict], list[dict]]:
        folder = tmp_path / str(next(number))
        folder.mkdir()
        user, item, day = zip(*lines, strict=True)
        times = np.array(day) * DAY
        table = pa.table({"user": user, "item": item, "timestamp": times, "rating": [None] * len(lines)})
        indexed = table.cast(dataset.INTERACTIONS).append_column("index", pa.array(np.arange(len(lines))))
        pq.write_table(indexed, folder / "raw.parquet")
        rules = Protocol(order=order, seed=options.pop("seed", 1), **options)
        job = Job(
            dataset=folder.name, raw=str(folder / "raw.parquet"), folder=str(folder), engine="duckdb", protocol=rules
        )
        run(job)
        return tuple(pq.read_table(folder / f"{name}.parquet").to_pylist() for name in ("rows", "interactions"))

    return work


def takes(user: str, items: Sequence[str], day: int = 0) -> list[Event]:
    return [(user, item, day + place) for place, item in enumerate(items)]


def splits(rows: list[dict]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for row in rows:
        if row["label"] and row["split"] != "test_on_sale":
            found.setdefault(row["user"], []).append(row["split"])
    return found


def test_leave_one_out_takes_the_last_two_of_a_user_with_three(prepared):
    rows, _ = prepared(takes("u", "abcd") + takes("v", "ab", 10) + takes("w", "efg", 20))
    assert splits(rows) == {2: ["train", "train", "valid", "test"], 3: ["train"] * 2, 4: ["train", "valid", "test"]}


def test_no_held_out_row_is_an_error(prepared):
    with pytest.raises(UsageError, match="valid split"):
        prepared(takes("u", "ab") + takes("v", "cd"))


def test_global_time_keeps_a_day_together(prepared):
    lines = [("uvwxy"[n], f"{day} {n}", day) for day in range(20) for n in range(5)]
    rows, _ = prepared(lines, "global-time")
    of_day = {row["day"]: {r["split"] for r in rows if r["day"] == row["day"] and r["draw"] == 0} for row in rows}
    assert all(len(found - {"test_on_sale"}) == 1 for found in of_day.values())
    assert [of_day[day] & {"train", "valid", "test"} for day in (15, 16, 18)] == [{"train"}, {"valid"}, {"test"}]


def test_date_cuts_move_to_the_next_start_of_a_day():
    assert date_cuts(np.arange(20), np.full(20, 5)) == [16, 18]


def test_published_order_keeps_ties_as_the_source_has_them(prepared):
    lines = [("u", item, 0) for item in "hgfedcba"] + takes("u", "x", 1) + takes("v", "yz", 2)
    found = [prepared(lines, "published")[1], *(prepared(lines, seed=seed)[1] for seed in (1, 2))]
    published, first, second = ([row["item"] for row in rows if row["user"] == FIRST_ID] for rows in found)
    assert published == list(range(FIRST_ID, FIRST_ID + 9))
    assert first != second
    assert sorted(first) == sorted(second) == list(range(FIRST_ID, FIRST_ID + 9))
    assert first[-1] == second[-1] == FIRST_ID + 8  # no tie: its place is certain


def test_a_repeated_line_counts_once_and_positions_count_from_zero(prepared):
    _, interactions = prepared(takes("u", "abc") + takes("u", "abc") + takes("v", "cde", 1))
    assert [(row["user"], row["position"]) for row in interactions] == [(2, 0), (2, 1), (2, 2), (3, 0), (3, 1), (3, 2)]


def test_what_comes_at_the_end_or_after_it_does_not_count(prepared):
    _, interactions = prepared(takes("u", "abcde") + takes("v", "xyz"), end=4 * DAY)
    assert max(row["day"] for row in interactions) == 3


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events, st.integers(0, 5), st.integers(1, 3))
def test_every_row_is_what_the_protocol_says(prepared, lines, seed, draws):
    base = takes("u", "abc") + takes("v", "def", 1)  # so that no split is empty
    rows, interactions = prepared([*base, *lines, ("y", "i", 9)], seed=seed, draws=draws)
    number = {(row["user"], row["position"]): place for place, row in enumerate(interactions)}
    count, catalogue = len(interactions), {row["item"] for row in interactions}
    taken = Counter((row["user"], row["item"]) for row in interactions)
    first = {item: min(row["day"] for row in interactions if row["item"] == item) for item in catalogue}
    assert [row["row"] for row in rows] == sorted(row["row"] for row in rows)
    for row in rows:
        block, place = divmod(row["row"] // 2, count)
        assert number[row["user"], row["position"]] == place
        assert row["label"] == 1 - row["row"] % 2
        if row["label"]:
            assert row["item"] == interactions[place]["item"]
        else:
            assert row["item"] in catalogue
            assert not taken[row["user"], row["item"]]
        assert (row["split"] == "test_on_sale") == (block == draws)
        if block == draws and not row["label"]:
            assert first[row["item"]] < row["day"]
        if 0 < block < draws:
            assert (row["label"], row["split"], row["draw"]) == (0, "train", block)
    blocks = Counter(row["row"] // 2 // count for row in rows)
    training = sum(row["split"] == "train" and row["label"] and row["draw"] == 0 for row in rows)
    assert blocks[0] == 2 * count
    assert all(blocks[block] == training for block in range(1, draws))


def test_every_free_item_is_equally_likely(prepared):
    lines = [(f"u{n}", item, day) for n in range(3000) for item, day in (("b", 0), ("d", 1), ("b", 2), ("d", 3))]
    rows, _ = prepared([*lines, *takes("z", "abcdefgh", 0), ("y", "i", 0)])
    asked = [row for row in rows if row["user"] < FIRST_ID + 3000 and row["split"] != "test_on_sale"]
    items = Counter(row["item"] for row in asked if not row["label"])
    counts = np.array([items[item] for item in sorted(items)])
    assert len(counts) == 7  # nine without b and d
    assert np.abs(counts / counts.sum() - 1 / 7).max() < 0.01


def test_a_negative_depends_on_seed_and_draw_but_not_on_the_order(prepared):
    lines = takes("u", "abcdef") + takes("v", "ghijkl", 3) + takes("w", "mnopqr", 5)
    found = {
        (order, seed): {
            (r["user"], r["item"], r["day"]) for r in prepared(lines, order, seed=seed)[0] if not r["label"]
        }
        for order in ("published", "shuffled-ties")
        for seed in (1, 2)
    }
    assert found["published", 1] == found["shuffled-ties", 1] != found["published", 2]
    rows = [row for row in prepared(lines, draws=2)[0] if row["split"] == "train" and not row["label"]]
    by_draw = [[row["item"] for row in rows if row["draw"] == draw] for draw in (0, 1)]
    assert by_draw[0] != by_draw[1]


def test_a_negative_stays_when_the_data_grows(prepared):
    """Ten new items and a new interaction of every user: what was drawn stays, but about ten in 200."""
    users = [f"u{n}" for n in range(100)]
    lines = [line for n, user in enumerate(users) for line in takes(user, [f"i{(2 * n + k) % 200}" for k in range(8)])]
    later = [("new", f"x{n}", 20) for n in range(10)] + [(user, f"i{n}", 21) for n, user in enumerate(users)]
    first, second = (
        {(row["user"], row["position"]): row["item"] for row in prepared(every)[0] if _frozen(row)}
        for every in (lines, lines + later)
    )
    changed = [place for place, item in first.items() if second[place] != item]
    assert len(first) == 800
    assert 0 < len(changed) < 0.12 * len(first)


def _frozen(row: dict) -> bool:
    return not row["label"] and row["draw"] == 0 and row["split"] != "test_on_sale"


def test_a_user_who_has_everything_has_no_negatives_and_all_others_keep_their_numbers(prepared):
    rows, interactions = prepared(takes("u", "abcd") + takes("v", "abc") + takes("w", "bcd"))
    first = [row for row in rows if row["row"] < 2 * len(interactions)]
    assert [row["row"] for row in first if row["user"] == 2] == [0, 2, 4, 6]  # positives only
    assert [row["row"] for row in first if row["user"] > 2] == list(range(8, 20))
    assert all(row["label"] == 1 - row["row"] % 2 for row in rows)


def test_nobody_with_anything_left_is_an_error(prepared):
    with pytest.raises(UsageError, match="everybody has every item"):
        prepared(takes("u", "abc") + takes("v", "abc"))


def test_a_split_that_one_day_leaves_empty_names_day_share_and_remedy(prepared):
    lines = [("uvwxy"[n % 5], f"i{n}", 0) for n in range(85)] + [("u", f"j{n}", 1 + n) for n in range(15)]
    said = r"no rows for the train split.*85% of them are of 1970-01-01.*--order shuffled-ties"
    with pytest.raises(UsageError, match=said):
        prepared(lines, "global-time")
    prepared(lines, "shuffled-ties")


def test_a_test_row_with_nothing_else_on_sale_has_no_second_pair(prepared):
    rows, _ = prepared(takes("u", "abc") + takes("v", "xyz", 50))
    assert {row["user"] for row in rows if row["split"] == "test_on_sale"} == {3}
