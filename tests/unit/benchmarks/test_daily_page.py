"""What a day by the real scheduler amounts to."""

import json
import subprocess
from pathlib import Path

import pytest

from benchmarks import daily, daily_page
from benchmarks.daily import Account, Asked
from core import storage

ASKED = Asked(dataset="shop", source="examples/shop", day="2026-07-01", kills=3, seed=0, parameters={})


def test_the_ratio_leaves_airflows_own_time_out() -> None:
    account = Account(own=30.0, first=130.0, again=75.0, verbs=2, by_hand={"a.x": 60.0, "b.y": 20.0}, steps=9)
    account.killed, account.cleared = [(3.0, "verb"), (9.0, "verb"), (20.0, "scheduler")], 2
    account.odd = {"run again": [], "through kills": ["cot/index"]}
    page = " ".join(daily_page.page(account, ASKED, "the command").split())
    assert "| beyond Airflow's own, against by hand | 100 | 1.25 times |" in page
    assert "| the day once more, where nothing has changed | 75 | +45 s |" in page
    assert "Killed: scheduler 1, verb 2; 2 runs were cleared." in page
    assert "| run again | none |" in page
    assert "| through kills | cot/index |" in page


def test_the_content_of_a_home_is_that_of_its_finished_steps_and_releases(tmp_path: Path) -> None:
    home = tmp_path / "home"
    for place, content in (("shop/data", "1"), ("shop/.unfinished/data", "2")):
        storage.write_json(home / place / "step.json", {"content": content})
    told = {"number": 3, "stages": {"ranker": {"sha256": "a"}}, "score": {}, "evidence": {}}
    storage.write_json(tmp_path / "models" / "shop" / "3" / "release.json", told)
    first = daily.content(home)
    assert list(first) == ["shop/data", "release 3"]
    storage.write_json(tmp_path / "models" / "shop" / "3" / "release.json", told | {"score": {"sha256": "b"}})
    assert daily._odd(first, daily.content(home)) == ["release 3"]


@pytest.mark.parametrize("words", [("export", "--dataset"), ("release", "promote")])
def test_verbs_that_do_nothing_say_what_the_dags_read_of_them(tmp_path: Path, words: tuple[str, ...]) -> None:
    (tmp_path / "llmcf").write_text(daily._SILENT)
    (tmp_path / "llmcf").chmod(0o755)
    printed = subprocess.run([tmp_path / "llmcf", *words], capture_output=True, text=True, check=True).stdout
    assert json.loads(printed) == {"details": {"release": 1, "live": True}}
