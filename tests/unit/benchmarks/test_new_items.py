"""What happened after a release, and what counts as a hit of the text cosine."""

import numpy as np
import polars as pl
import pytest

from benchmarks.new_items import Later, TextCosine, judged, with_histories

ITEMS = pl.DataFrame({"item": [2, 3, 4], "raw_id": ["a", "b", "c"], "text": ["", "", ""]})
USERS = pl.DataFrame({"user": [2, 3], "raw_id": ["u", "v"]})


def test_a_row_s_history_is_what_its_user_took_before_and_nothing_of_anybody_else() -> None:
    taken = pl.DataFrame(
        {
            "user": [3, 2, 2, 2],
            "item": [4, 3, 2, 4],
            "position": [0, 1, 0, 2],
            "timestamp": [900, 200, 100, 300],
        }
    )
    later = with_histories(taken, ITEMS, USERS, 200.0)
    assert list(zip(later.users, later.targets, later.histories, strict=True)) == [
        ("u", "b", ["a"]),
        ("u", "c", ["a", "b"]),
    ], "v has no history, and u's first is from before"


def test_the_text_cosine_leaves_the_history_out_and_counts_equals_against_itself() -> None:
    """Twelve items on a line away from "q"; "x" is the second nearest of what is left."""
    names = ["q", "x", *(f"n{place}" for place in range(11))]
    angle_V = np.array([0.0, 0.2, 0.1, *np.linspace(0.3, 1.2, 10)])
    cosine = TextCosine(names, np.stack([np.cos(angle_V), np.sin(angle_V)], axis=1).astype(np.float32))
    rows = Later(
        users=["u"] * 4,
        targets=["x", "n9", "n10", "q"],
        histories=[["q"], ["n0", "q"], ["q"], ["x", "q"]],
        items=ITEMS,
    )
    assert cosine.hits(rows).tolist() == [True, True, False, False]
    alike = TextCosine(names, np.ones((13, 1), dtype=np.float32))
    assert not alike.hits(rows).any(), "all are equally near, so ten others stand before each"


def test_intervals_are_over_users_and_the_difference_is_paired() -> None:
    found = judged(
        np.array([True, True, False]), np.array([True, False, False]), np.array(["u", "u", "v"], dtype=object)
    )
    assert (found.rows, found.users) == (3, 2)
    assert found.service.estimate == pytest.approx(2 / 3)
    assert found.gain.estimate == pytest.approx(1 / 3)
    assert found.gain.low == 0.0 and found.gain.high == pytest.approx(0.5)
