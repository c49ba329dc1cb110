"""A day's files are whole or not there, say what they were made of, and are read back with their day."""

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from llmcf.daily import partitions
from llmcf.daily.choosing import number_of
from llmcf.daily.partitions import Made

DATASET, ORDER = "shop", "shuffled-ties"
DAY = number_of("2026-01-31")
MADE = Made(release=3, until=DAY - 1, key="k", rows="r")
LINE: dict[str, Any] = {
    "dimension": "all", "segment": "all", "metric": "auc", "value": 0.75, "low": 0.5, "high": None,
    "rows": 8, "requests": 4, "users": 3,
}  # fmt: skip


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path))
    return tmp_path


def test_a_file_is_read_back_with_its_day_and_what_it_was_made_of(home: Path) -> None:
    place = partitions.folder(DATASET, ORDER, DAY)
    path = partitions.write(place, [LINE], MADE)
    assert path == home / "shop" / "metrics" / ORDER / "day=2026-01-31" / "release=3.parquet"
    assert partitions.made(place) == [MADE]
    (line,) = partitions.read(DATASET, ORDER).to_pylist()
    told = {"day": date(2026, 1, 31), "release": 3, "known_until": date(2026, 1, 30), "missing": None}
    assert line == LINE | told


def test_days_are_chosen_and_none_is_an_empty_table() -> None:
    for day in (DAY, DAY + 1, DAY + 2):
        partitions.write(partitions.folder(DATASET, ORDER, day), [LINE], MADE)
    found = partitions.read(DATASET, ORDER, date(2026, 2, 1), date(2026, 2, 1))
    assert found["day"].to_pylist() == [date(2026, 2, 1)]
    assert partitions.read(DATASET, "published").num_rows == 0
    assert partitions.read(DATASET, "published").schema == found.schema


def test_two_releases_of_a_day_lie_side_by_side() -> None:
    place = partitions.folder(DATASET, ORDER, DAY)
    other = Made(release=4, until=DAY, key="k", rows="r")
    partitions.write(place, [LINE], MADE)
    partitions.write(place, [LINE], other)
    assert partitions.made(place) == [MADE, other]
    assert partitions.read(DATASET, ORDER)["release"].to_pylist() == [3, 4]


def test_a_missing_day_says_why_until_it_is_scored() -> None:
    place = partitions.folder(DATASET, ORDER, DAY)
    partitions.write_missing(place, "no release")
    (line,) = partitions.read(DATASET, ORDER).to_pylist()
    assert (line["missing"], line["release"], line["value"]) == ("no release", None, None)
    assert partitions.made(place) == []
    partitions.write(place, [LINE], MADE)
    assert partitions.read(DATASET, ORDER)["missing"].to_pylist() == [None]


@pytest.mark.parametrize("spoilt", [b"", b"PAR1", b"no parquet at all, but long enough to be looked at"])
def test_a_file_that_cannot_be_read_is_removed(spoilt: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    place = partitions.folder(DATASET, ORDER, DAY)
    partitions.write(place, [LINE], MADE).write_bytes(spoilt)
    assert partitions.made(place) == []
    assert "release=3.parquet is not whole" in capsys.readouterr().err
    assert partitions.read(DATASET, ORDER).num_rows == 0
