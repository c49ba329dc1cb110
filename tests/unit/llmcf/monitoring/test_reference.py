"""Which day a day is held against."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from core import storage
from core.errors import UsageError
from core.settings import Workspace
from core.steps import STAMP
from llmcf.monitoring import reference


def at(day: str) -> Workspace:
    return Workspace("shop", "global-time", day)


@pytest.fixture(autouse=True)
def days(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three days and `latest`, and one whose features are not built."""
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path))
    monkeypatch.setenv("LLMCF_TRITON_MODELS", str(tmp_path / "models"))
    for day in ("2026-01-01", "2026-01-03", "2026-01-08", "2026-01-20", "latest"):
        for part in ("data", "features"):
            storage.write_json(at(day).path(part, STAMP), {})
    storage.write_json(at("2026-01-19").path("data", STAMP), {})
    (tmp_path / "shop" / "global-time" / "no-day").mkdir()


def release(day: str, order: str = "global-time") -> Any:
    return SimpleNamespace(number=4, workspace=Workspace("shop", order, day))


def test_days_in_their_order():
    assert [ws.as_of for ws in reference.days("shop", "global-time")] == [
        "2026-01-01",
        "2026-01-03",
        "2026-01-08",
        "2026-01-20",
        "latest",
    ]


@pytest.mark.parametrize(
    ("day", "live", "asked", "found", "why"),
    [
        ("2026-01-20", release("2026-01-01"), None, "2026-01-01", "release 4, which is live"),
        ("2026-01-20", None, None, "2026-01-08", "newest earlier"),
        ("2026-01-20", release("2026-01-20"), None, "2026-01-08", "newest earlier"),  # not itself
        ("2026-01-08", release("2026-01-20"), None, "2026-01-01", "first workspace"),  # not a later one
        ("2026-01-20", release("2026-01-01", "published"), None, "2026-01-08", "newest earlier"),
        ("latest", None, None, "2026-01-20", "newest earlier"),
        ("2026-01-20", release("latest"), None, "2026-01-08", "newest earlier"),
        ("2026-01-08", release("2026-01-08"), None, "2026-01-01", "first workspace of the 7 days before"),
        ("2026-01-08", release("2026-01-03"), None, "2026-01-03", "release 4, which is live"),
        ("2026-01-01", None, None, None, "there is no earlier workspace"),
        ("2026-01-01", release("2026-01-08"), "2026-01-20", "2026-01-20", "it was asked for"),
        ("2026-01-20", None, "20260108", "2026-01-08", "it was asked for"),
    ],
)
def test_the_live_one_else_the_newest_earlier(day: str, live: Any, asked: str | None, found: str | None, why: str):
    chosen, said = reference.choose(at(day), live, asked)
    assert (chosen and chosen.as_of) == found
    assert why in said


def test_a_day_without_features_is_refused():
    with pytest.raises(UsageError, match="there are: 2026-01-01, 2026-01-03, 2026-01-08, 2026-01-20, latest"):
        reference.choose(at("latest"), None, "2026-01-19")


def test_without_a_release_that_can_be_read():
    assert reference.live("shop") == (None, "no release of shop is live")
    storage.write_json(
        Path(str(at("latest").root)).parents[2] / "models" / "live" / "shop.json", {"release": 3, "versions": {}}
    )
    found, why = reference.live("shop")
    assert found is None
    assert "there is no release 3 of shop" in why
