"""Rows are read where their days are over: not before an as-of day, nor of a day on which the data were prepared."""

import json
from pathlib import Path

import pytest

from core.errors import Missing, UsageError
from core.settings import Workspace
from core.steps import STAMP
from llmcf.daily import places
from llmcf.daily.choosing import number_of

DATASET, ORDER = "movielens-100k", "shuffled-ties"
DAY = number_of("2026-01-31")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path))
    return tmp_path


def prepared(as_of: str, made: str) -> Workspace:
    ws = Workspace(DATASET, ORDER, as_of)
    ws.path("data").mkdir(parents=True)
    ws.path("data", STAMP).write_text(json.dumps({"made": made, "outputs": {}}))
    return ws


@pytest.mark.parametrize(
    ("as_of", "made", "until"),
    [
        ("2026-02-01", "2026-02-01T02:00:00Z", "2026-02-01"),
        ("2026-02-01", "2026-03-05T02:00:00Z", "2026-02-01"),
        ("2026-02-01", "2026-01-30T23:59:59Z", "2026-01-30"),
        ("latest", "2026-01-31T12:00:00Z", "2026-01-31"),
    ],
)
def test_a_workspace_holds_the_days_that_were_over(as_of: str, made: str, until: str) -> None:
    assert places.held_until(prepared(as_of, made)) == number_of(until)


def test_what_is_not_prepared_or_half_written_holds_nothing() -> None:
    ws = prepared("2026-02-01", "2026-02-01T02:00:00Z")
    assert places.held_until(Workspace(DATASET, ORDER, "2026-02-02")) is None
    ws.path("data", STAMP).write_text(json.dumps({"made": "2026-02-01T02:00:00Z", "outputs": {"rows.parquet": 9}}))
    assert places.held_until(ws) is None
    with pytest.raises(Missing, match=r"llmcf data prepare .*--as-of 2026-02-01"):
        places.holding(DATASET, ORDER, DAY, "2026-02-01")


def test_the_newest_that_holds_the_day_is_read() -> None:
    with pytest.raises(Missing, match=r"holds all of 2026-01-31; run `llmcf data prepare .* --as-of 2026-02-01`"):
        places.holding(DATASET, ORDER, DAY, None)
    prepared("2026-01-31", "2026-01-31T02:00:00Z")
    with pytest.raises(Missing):
        places.holding(DATASET, ORDER, DAY, None)
    first = prepared("2026-02-01", "2026-02-01T02:00:00Z")
    assert places.holding(DATASET, ORDER, DAY, None) == first
    second = prepared("2026-02-02", "2026-02-02T02:00:00Z")
    assert places.holding(DATASET, ORDER, DAY, None) == second
    assert places.holding(DATASET, ORDER, DAY, "2026-02-01") == first
    latest = prepared("latest", "2026-02-02T12:00:00Z")
    assert places.holding(DATASET, ORDER, DAY, None) == latest
    assert places.holding(DATASET, ORDER, DAY + 1, None) == latest
    with pytest.raises(Missing):
        places.holding(DATASET, "published", DAY, None)


def test_a_day_that_is_not_over_is_refused() -> None:
    prepared("2026-01-31", "2026-01-31T02:00:00Z")
    prepared("latest", "2026-01-31T02:00:00Z")
    for as_of in ("2026-01-31", "latest"):
        with pytest.raises(UsageError, match="holds the days before 2026-01-31, and 2026-01-31 is not one of them"):
            places.holding(DATASET, ORDER, DAY, as_of)
