"""A day is the newest release's of those of strictly earlier days, and nobody else's."""

from dataclasses import replace
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from core import steps
from core.data import tables
from core.errors import LlmcfError, UsageError
from core.homes import home_id
from core.settings import Workspace
from llmcf.daily import choosing
from llmcf.daily.choosing import Choosing, Known, date_of, known_until, number_of
from llmcf.gates.answering import Answering
from llmcf.serving import gone, releases
from llmcf.serving.manifest import Release
from tests.synthetic_release import pruned, write_release

DATASET = "movielens-100k"
ORDER = "shuffled-ties"


def release(as_of: str = "2026-01-31", **facts: Any) -> Release:
    told = {
        "number": 1, "source": "", "home": home_id(), "dataset": DATASET, "order": ORDER, "as_of": as_of, "stages": {},
        "users_end": 9, "items_end": 9, "collections": {"items": "items_v7"}, "item_vectors": "", "features": {},
        "created": "2026-02-03T23:59:59Z",
    }  # fmt: skip
    return Release(**{**told, **facts})


def test_days_are_counted_as_in_the_tables() -> None:
    assert number_of("1970-01-02") == 1
    assert date_of(number_of("2026-01-31")) == date(2026, 1, 31)


def test_a_release_knows_the_days_before_its_own() -> None:
    assert known_until(release()) == number_of("2026-01-31")


def test_one_of_all_there_is_knows_whatever_had_come_when_it_was_made(tiny: Workspace) -> None:
    assert known_until(release("latest")) == number_of("2026-02-04"), "the data may have grown until then"
    data = tiny.path("data")
    same = release("latest", inputs={steps.name_of(data): steps.content_of(data)})
    last = int(tables.interactions(tiny)["day"].to_numpy().max())
    assert known_until(same) == last + 1
    changed = replace(same, inputs={steps.name_of(data): "another"})
    assert known_until(changed) == number_of("2026-02-04")


@pytest.mark.parametrize(("day", "number"), [(9, None), (10, 1), (11, 1), (20, 3), (25, 3), (30, 2), (99, 2)])
def test_the_newest_of_earlier_days(day: int, number: int | None) -> None:
    there = (Known(10, 1), Known(30, 2), Known(20, 3))
    known = Choosing(there=there).choose(day).known
    assert (known and known.number) == number


def test_a_removed_release_keeps_its_days() -> None:
    """Also from a release of earlier days that is still there, as one that was live for long may be."""
    found = Choosing(there=(Known(10, 1), Known(30, 4)), removed=(Known(20, 2), Known(25, 3)))
    assert found.choose(22) == choosing.Choice(known=Known(20, 2), there=False)
    assert found.choose(26) == choosing.Choice(known=Known(25, 3), there=False)
    assert found.choose(30) == choosing.Choice(known=Known(30, 4), there=True)
    assert found.choose(15) == choosing.Choice(known=Known(10, 1), there=True)
    assert found.choose(5) == choosing.Choice(known=None, there=False)


def test_of_two_of_a_day_the_one_that_is_there() -> None:
    found = Choosing(there=(Known(20, 2),), removed=(Known(20, 3),))
    assert found.choose(25) == choosing.Choice(known=Known(20, 2), there=True)


def test_what_a_removed_release_has_scored_stays_its_own() -> None:
    found = Choosing(there=(Known(10, 1), Known(30, 4)), removed=(Known(20, 2),))
    assert found.choose(25, [Known(20, 2), Known(10, 1)]) == choosing.Choice(known=Known(20, 2), there=False)
    unreadable = Choosing(there=(Known(10, 1),))
    assert unreadable.choose(25, [Known(20, 2)]) == choosing.Choice(known=Known(20, 2), there=False)
    assert found.choose(35, [Known(20, 2)]) == choosing.Choice(known=Known(30, 4), there=True)


def test_a_release_of_the_day_itself_is_refused() -> None:
    choosing.check_earlier(Known(10, 1), 10)
    day = number_of("2026-01-31")
    with pytest.raises(
        UsageError, match=r"release 1 was trained on days up to 2026-01-31: .*2026-01-31 would be a leak"
    ):
        choosing.check_earlier(Known(day + 1, 1), day)


def test_a_collection_with_a_later_day_is_a_leak() -> None:
    day = number_of("2026-01-31")
    asked = SimpleNamespace(
        newest_day=day - 1, release=SimpleNamespace(collections={"cot": "cot_v3"}, remedy="llmcf x")
    )
    choosing.check_holds(cast("Answering", asked), Known(day, 1))
    asked.newest_day = day
    with pytest.raises(LlmcfError, match=r"before 2026-01-31, and its collections \(cot_v3\) hold one of 2026-01-31"):
        choosing.check_holds(cast("Answering", asked), Known(day, 1))


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMCF_TRITON_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path / "home"))


@pytest.mark.usefixtures("repository")
def test_those_of_the_order_and_home_with_the_removed_ones() -> None:
    for number, order in enumerate((ORDER, ORDER, "published", ORDER), start=1):
        write_release(Workspace(DATASET, order, f"2026-01-0{number}"), seed=number)
    elsewhere = releases.read(DATASET, 4)
    replace(elsewhere, home="another").write(elsewhere.folder)
    releases.promote(releases.read(DATASET, 2))
    first, second = (Known(number_of(f"2026-01-0{number}"), number) for number in (1, 2))
    assert Choosing.of(DATASET, ORDER) == Choosing(there=(first, second))
    assert Choosing.of(DATASET, ORDER).only(1, DATASET, ORDER).choose(second.until, [second]).known == first
    with pytest.raises(UsageError, match=r"release 3 of movielens-100k is not of order shuffled-ties.*ask: 1, 2"):
        Choosing.of(DATASET, ORDER).only(3, DATASET, ORDER)
    with pytest.raises(UsageError, match="there is no release 9"):
        Choosing.of(DATASET, ORDER).only(9, DATASET, ORDER)
    assert 1 in pruned(DATASET, keep=1)
    assert Choosing.of(DATASET, ORDER) == Choosing(there=(second,), removed=(first,))
    assert [one.number for one in gone.of(DATASET)] == sorted({1, 3, 4} - set(releases.numbers(DATASET)))
    assert gone.of(DATASET)[0].stages == {name: replace(stage) for name, stage in gone.of(DATASET)[0].stages.items()}, (
        "whole manifests"
    )
