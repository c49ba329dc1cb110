"""A month's account: which lines are a day's, what must be there before, and what the page says."""

from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from benchmarks import month
from benchmarks.month import Account
from core.errors import LlmcfError, Missing
from core.settings import Workspace
from llmcf.daily.choosing import number_of
from tests.meta.test_remedies import parse

ACCOUNT = Account(
    dataset="shop", order="global-time", first="2026-07-01", last="2026-07-31", days=31, scored=20, releases=(2, 3),
    rows=1600, requests=800, workers=2, seconds=300.0, peak_mib=2048, again=6.0,
)  # fmt: skip


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "TRITON_MODELS"):
        monkeypatch.setenv(f"LLMCF_{name}", str(tmp_path / name))


def test_the_page_says_what_a_month_took_and_what_it_rests_on() -> None:
    page = " ".join(month.page(ACCOUNT, "the command").split())
    assert "shop, global-time, 2026-07-01 to 2026-07-31: 31 days, 20 of them with purchases" in page
    assert "1,600 rows and 800 requests, asked of release 2, 3 with 2 processes; at most 2,048 MiB." in page
    assert "| the month | 300.0 |" in page
    assert "| a day of it | 15.0 |" in page
    assert "| once more, where nothing is new | 6.0 |" in page
    assert "| a day of it | 0.0 |" in " ".join(month.page(replace(ACCOUNT, scored=0), "").split())


def test_a_day_is_told_of_the_release_that_knew_most() -> None:
    day, known = date(2026, 7, 1), date(2026, 6, 1)
    told = {"day": day, "known_until": known, "release": 1, "missing": None}
    newer = told | {"known_until": date(2026, 6, 30), "release": 2}
    gone = told | {"day": date(2026, 7, 2), "release": None, "missing": "removed"}
    assert month.newest_of_days([told, newer, gone]) == [newer]
    assert month.newest_of_days([newer, told | {"release": 3}]) == [newer]


def test_what_is_missing_is_told_with_verbs_that_parse() -> None:
    with pytest.raises(Missing, match="no day of amazon-beauty, global-time, is prepared; run `llmcf data prepare"):
        month.newest("amazon-beauty", "global-time")
    with pytest.raises(LlmcfError, match="trained on days before 2014-06-23 alone") as raised:
        month.check_release("amazon-beauty", "global-time", number_of("2014-06-23"))
    verbs = str(raised.value).partition("make one: ")[2].split(" && ")
    assert len(verbs) == 7
    for line in verbs:
        given = parse(line)
        assert Workspace(given["dataset"], given["order"], given["as_of"]).as_of == "2014-06-23"
