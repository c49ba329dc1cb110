"""The data quality report: numbers that a hand can count, and no word of a stranger's title as markup."""

import re
from pathlib import Path

import pytest

from core.contracts import ON_SALE
from core.data.prepare import prepare
from core.errors import LlmcfError
from core.settings import Workspace
from llmcf.reports.data import report
from llmcf.reports.data_facts import facts

DAY = 86_400
HOSTILE = "<script>alert(1)</script> &lt;img src=x onerror=alert(2)&gt; \"quoted\" 'so'"
TOML = """\
[interactions]
file = "events.csv"
user = "user"
item = "item"
timestamp = "time"

[items]
file = "items.csv"
item = "item"
title = "title"
brand = "brand"
categories = "kind"
"""
# (user, item, day): everyone takes i0 first; u0 and u1 take their last two on one day.
EVENTS = [
    *((user, f"i{number}", 20 * number + user + 1) for user in range(4) for number in range(3)),
    *((user, f"i{3 + user}", 100 + user) for user in range(4)),
    *((user, f"i{7 + user}", 100 + user + (user > 1)) for user in range(4)),
]


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LLMCF_RUNS", str(tmp_path / "runs"))
    source = tmp_path / "source"
    source.mkdir()
    (source / "dataset.toml").write_text(TOML)
    lines = [f"u{user},{item},{1_300_000_000 + day * DAY}" for user, item, day in EVENTS]
    (source / "events.csv").write_text("\n".join(["user,item,time", *lines]))
    quoted = HOSTILE.replace('"', '""')
    items = [f'i0,"{quoted}",brand,kind', "i1,,,kind", *(f"i{n},Title {n},," for n in range(2, 11))]
    (source / "items.csv").write_text("\n".join(["item,title,brand,kind", *items]))
    place = Workspace("shop", "shuffled-ties")
    prepare(place, source=source, seed=1)
    return place


@pytest.fixture
def page(ws: Workspace) -> str:
    return Path(report(ws).artifacts["report"]).read_text(encoding="utf-8")


def test_counts_are_those_of_a_hand(ws: Workspace):
    found = facts(ws)
    assert (found.users, found.items, found.interactions) == (4, 11, 20)
    assert found.density == pytest.approx(20 / 44)
    assert found.item_counts.tolist() == [4, 4, 4] + [1] * 8
    assert found.user_counts.tolist() == [5] * 4
    assert found.of_user[0.5] == 5
    assert found.of_item[0.5] == 1
    assert found.top_fifth == pytest.approx(8 / 20)  # two of eleven items


def test_what_is_missing_is_a_share_of_the_items(ws: Workspace):
    missing = facts(ws).missing
    assert missing["title"] == pytest.approx(1 / 11)
    assert missing["brand"] == pytest.approx(10 / 11)
    assert missing["categories"] == pytest.approx(9 / 11)


def test_ties_of_a_day_are_counted(ws: Workspace):
    found = facts(ws)
    assert found.same_day == pytest.approx(4 / 20)  # the last two of u0 and of u1
    assert found.same_day_test == pytest.approx(2 / 4)


def test_late_negatives_are_those_that_nobody_had_taken(ws: Workspace):
    found = facts(ws)
    assert found.rows["test"] == 8
    assert 0 < found.late["train"] <= 1
    assert found.late.get(ON_SALE, 0) == 0


def test_most_taken_items_come_first(ws: Workspace):
    titles, _, counts = zip(*facts(ws).popular[:3], strict=True)
    assert counts == (4, 4, 4)
    assert any("quoted" in title for title in titles)


def test_a_title_is_text_in_the_page(page: str):
    assert "alert(" in page  # the title is there
    assert "<script" not in page
    assert "<img" not in page
    assert not re.search(r"<[^>]*onerror", page)


def test_the_page_stands_by_itself(page: str):
    assert page.count("<svg") == 5
    assert "default-src 'none'" in page
    assert not re.search(r"(?:src|href)=\"https?:", page)
    assert "llmcf data report --dataset shop --order shuffled-ties" in page
    assert "seed 1" in page


def test_pictures_have_the_same_bytes_every_time(ws: Workspace, page: str):
    again = Path(report(ws).artifacts["report"]).read_text(encoding="utf-8")
    one, other = (re.sub(r"\d\d:\d\d UTC", "", text) for text in (page, again))
    assert one == other


def test_without_data_the_verb_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path))
    with pytest.raises(LlmcfError, match="llmcf data prepare --dataset shop"):
        report(Workspace("shop", "shuffled-ties"))
