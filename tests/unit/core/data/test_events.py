"""What an event may be, in words for a push and in columns for a preparation: one rule."""

from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.data.events import SKEW, NoEventError, bad_times, event, id_of, time_of
from core.data.rejects import Rejects, screen

NOW = 1_800_000_000


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("c1", "c1"), (" c1\t", "c1"), (7, "7"), (7.0, "7"), ("7.0", "7"), ("7.000000", "7"), (Decimal("7.0000"), "7"),
        ("007", "007"), ("007.0", "007"), ("7.5", "7.5"), ("\u00c5 \U0001f600", "\u00c5 \U0001f600"),
        (-5, "-5"), ("x" * 256, "x" * 256),
    ],
)  # fmt: skip
def test_ids_as_they_are_kept(value: object, kept: str):
    assert id_of(value) == kept


@pytest.mark.parametrize(
    "value",
    ["", "  ", "\u00a0", "a\0b", "a\nb", "\x7f", "a\u2028b", "\ud83d", "x" * 257, True, None, 7.5, float("nan"), 1e300,
     2.0**53, [], {"a": 1}, Decimal("1.5"), float("inf")],
)  # fmt: skip
def test_what_no_id_may_be(value: object):
    with pytest.raises(NoEventError):
        id_of(value)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (0, "no_date"), (3_600, "no_date"), (-18_000, "no_date"), (-62_135_596_800, "no_date"),
        (-2_209_161_600, "no_date"),
        (-86_400, "negative_time"), (-(10**18), "negative_time"), (-(10**19), "bad_time"), (NOW * 1000, "future_time"),
        (NOW + SKEW + 1, "future_time"), (10**30, "bad_time"), (10**400, "bad_time"), ("5", "bad_time"),
        (True, "bad_time"), (None, "bad_time"), (float("nan"), "bad_time"), (float("inf"), "bad_time"),
    ],
)  # fmt: skip
def test_what_no_time_may_be(value: object, kind: str):
    with pytest.raises(NoEventError) as error:
        time_of(value, now=NOW)
    assert error.value.kind == kind


def test_times_as_they_are_kept():
    assert [time_of(value, now=NOW) for value in (86_400, NOW, NOW + SKEW, 5e8, 5e8 + 0.9)] == [
        86_400, NOW, NOW + SKEW, 500_000_000, 500_000_000
    ]  # fmt: skip


def test_a_time_in_milliseconds_is_recognised():
    with pytest.raises(NoEventError, match="looks like milliseconds"):
        time_of(NOW * 1000, now=NOW)


def test_an_event_names_the_field_that_is_wrong():
    with pytest.raises(NoEventError, match="item '' is empty"):
        event("c1", "", NOW, now=NOW)


@given(
    st.text(max_size=4) | st.sampled_from(["7.0", "\0", " a "]),
    st.integers(-(2**62), 2**62) | st.integers(-9, 9) | st.just(NOW),
)
def test_a_column_is_judged_like_a_value(user: str, seconds: int):
    """Screening a table and judging an event keep the same events."""
    try:
        expected = [(one := event(user, "g1", seconds, now=NOW)).user, one.timestamp]
    except NoEventError as error:
        expected = error.kind
    rejects = Rejects()
    if any("\ud800" <= letter <= "\udfff" for letter in user):
        return  # no column can hold it
    columns = {"file": ["f"], "line": [1], "user": [user], "item": ["g1"], "timestamp": [seconds]}
    kept = screen(pl.DataFrame(columns), rejects, now=NOW)
    assert (kept.select("user", "timestamp").rows() or [None])[0] == (
        tuple(expected) if isinstance(expected, list) else None
    )
    if isinstance(expected, str):
        assert list(rejects.counts()) == [expected]


def test_kinds_of_columns_and_values_are_the_same():
    assert set(bad_times(pl.col("t"), now=NOW)) == {"no_date", "negative_time", "future_time"}
