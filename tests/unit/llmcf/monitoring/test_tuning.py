"""When drift asks for another tuning of the language model."""

from pathlib import Path

import pytest

from core import storage
from core.errors import LlmcfError, UsageError
from core.settings import Workspace
from core.steps import STAMP
from llmcf.monitoring import history, limits, tuning


def at(day: str) -> Workspace:
    return Workspace("shop", "global-time", day)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path))
    (tmp_path / "shop").mkdir()


def monitored(day: str, *alerts: str) -> None:
    history.keep(at(day), {"as_of": day, "end": int(day.replace("-", "")), "alerts": list(alerts)})


def test_an_alert_of_the_last_week_asks_for_it_and_says_why() -> None:
    monitored("2026-02-03", "distant-examples", "coverage")
    monitored("2026-02-09", "feature-drift")
    for day, due in (("2026-02-02", False), ("2026-02-03", True), ("2026-02-09", True), ("2026-02-10", False)):
        assert tuning.due(at(day)).details["due"] is due, day
    assert tuning.due(at("2026-02-09")).details["why"] == "2026-02-03: distant-examples"
    with pytest.raises(
        LlmcfError, match="no tuning is due: no day of the last 7 raised distant-examples or new-values"
    ) as refused:
        tuning.require_due(tuning.due(at("2026-02-10")))
    assert refused.value.exit_code == 99, "which no error has"
    tuning.require_due(tuning.due(at("2026-02-09")))


def test_once_a_week_is_enough_whether_it_was_pinned_or_not() -> None:
    monitored("2026-02-09", "new-values")
    storage.write_json(at("2026-02-04").path("recgen", "recgen-s2023") / STAMP, {})
    found = tuning.due(at("2026-02-10")).details
    assert (found["due"], found["why"]) == (False, "a model was tuned as of 2026-02-04, within the last 7 days")
    assert tuning.due(at("2026-02-11")).details["due"]
    storage.write_json(at("2026-02-11").path("recgen", "recgen-s2023") / STAMP, {})
    assert tuning.due(at("2026-02-11")).details["due"], "a repeat of the day finds what the day has found"


def test_a_data_set_says_upon_which_alerts() -> None:
    monitored("2026-02-09", "new-values")
    limits.path("shop").write_text("tune_on = ['calibration']\n")
    assert not tuning.due(at("2026-02-09")).details["due"]
    monitored("2026-02-09", "calibration")
    assert tuning.due(at("2026-02-09")).details["due"]


def test_a_weekday_whose_event_was_lost_is_made_up_for_on_the_next_days() -> None:
    """2026-02-09 is a Monday."""
    for day in ("2026-02-10", "2026-02-12", "2026-02-15"):
        assert not tuning.due(at(day), 1).details["due"], "its data were never made"
    storage.write_json(at("2026-02-09").path("training") / STAMP, {})
    for day, due in (("2026-02-09", False), ("2026-02-10", True), ("2026-02-15", True), ("2026-02-16", False)):
        assert tuning.due(at(day), 1).details["due"] is due, day
    assert "2026-02-09 is the day of the week" in tuning.due(at("2026-02-10"), 1).details["why"]
    assert not tuning.due(at("2026-02-10"), 2).details["due"]
    assert not tuning.due(at("2026-02-10")).details["due"]
    storage.write_json(at("2026-02-07").path("recgen", "recgen-s1") / STAMP, {})
    assert tuning.due(at("2026-02-10"), 1).details["due"], "that was before its day"
    storage.write_json(at("2026-02-10").path("recgen", "recgen-s1") / STAMP, {})
    assert tuning.due(at("2026-02-10"), 1).details["due"], "a repeat of the day finds what the day has found"
    assert not tuning.due(at("2026-02-11"), 1).details["due"]


def test_latest_is_no_day() -> None:
    with pytest.raises(UsageError, match="--as-of latest is no day"):
        tuning.due(at("latest"))
