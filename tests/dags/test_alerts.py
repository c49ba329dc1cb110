"""What the DAGs tell of runs that failed or are late."""

import asyncio
import importlib.util
import logging
from collections.abc import Iterator
from dataclasses import fields
from types import ModuleType, SimpleNamespace

import pytest

from core.alerts import Alert
from core.settings import PROJECT
from tests.alert_receiver import SECRET, Posted, receiving


@pytest.fixture
def alerts(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The file as Airflow loads it: by its path."""
    spec = importlib.util.spec_from_file_location("alerts", PROJECT / "dags" / "alerts.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "_WAITS_S", (0.01, 0.01))
    return module


@pytest.fixture
def posted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Posted]:
    """What a receiver on loopback is sent."""
    with receiving() as found:
        monkeypatch.setenv("LLMCF_ALERT_WEBHOOK", found.address)
        yield found


FAILED = {
    "dag": SimpleNamespace(dag_id="release", params={"dataset": "shop"}),
    "run_id": "r1",
    "reason": "task_failure",
}
RUN = {"dag_id": "release", "dag_run_id": "r1", "conf": None}


def task(number: int) -> SimpleNamespace:
    """The task that failed, in which try."""
    return SimpleNamespace(task_id="export", try_number=number)


def test_a_failed_and_a_late_run_are_told_as_other_alerts_are(alerts: ModuleType, posted: Posted) -> None:
    alerts.failed(FAILED)
    asyncio.run(alerts.late(context={"dag_run": RUN, "deadline": {"id": "d"}}, dataset="shop"))
    assert [one["id"] for one in posted.messages] == ["run-failed:release:r1", "run-late:release:r1"]
    told = ["release failed: task_failure", "release is late: r1 has not ended"]
    assert [one["text"] for one in posted.messages] == told
    names = {one.name for one in fields(Alert)}
    for one, kind in zip(posted.messages, alerts.KINDS, strict=True):
        assert names == set(one)
        assert one["kind"] == kind
        assert one["dataset"] == "shop"
        assert one["figures"] == {"dag": "release", "run": "r1"}


def test_a_run_that_was_cleared_and_fails_again_is_another_matter(alerts: ModuleType, posted: Posted) -> None:
    for number in (3, 3, 6):
        alerts.failed({**FAILED, "ti": task(number)})
    assert [one["id"] for one in posted.messages] == [f"run-failed:release:r1:export:{number}" for number in (3, 3, 6)]
    assert posted.messages[0]["text"] == "release failed in export: task_failure"
    assert posted.messages[0]["figures"] == {"dag": "release", "run": "r1", "task": "export", "try": 3}
    assert posted.keys[0] == posted.keys[1] != posted.keys[2]


def test_a_run_by_hand_is_told_of_its_own_data_set(alerts: ModuleType, posted: Posted) -> None:
    alerts.failed({**FAILED, "params": {"dataset": "plant"}})
    asyncio.run(alerts.late(context={"dag_run": {**RUN, "conf": {"dataset": "plant"}}}, dataset="shop"))
    asyncio.run(alerts.late(context={"dag_run": {**RUN, "conf": {"seed": 1}}}, dataset="shop"))
    assert [one["dataset"] for one in posted.messages] == ["plant", "plant", "shop"]


@pytest.mark.parametrize(
    ("answers", "posts", "said"),
    [
        ([503, 0], 3, ""),  # 0 hangs up
        ([429], 2, ""),
        ([500] * 3, 3, "it answered 500"),
        ([403], 1, "it answered 403"),
        ([302], 1, "it answered 302"),
    ],
)
def test_a_receiver_that_may_take_it_later_is_asked_again(
    alerts: ModuleType, posted: Posted, caplog: pytest.LogCaptureFixture, answers: list[int], posts: int, said: str
) -> None:
    posted.answers = answers.copy()
    alerts.failed(FAILED)
    assert len(posted.messages) == posts
    assert len(set(posted.keys)) == 1
    assert [said in one.getMessage() for one in caplog.records[1:]] == ([True] if said else [])
    assert SECRET not in caplog.text


def test_without_a_receiver_it_is_in_the_log(alerts: ModuleType, caplog: pytest.LogCaptureFixture) -> None:
    alerts.failed(FAILED)
    assert [one.getMessage() for one in caplog.records] == ["alert run-failed:release:r1: release failed: task_failure"]


@pytest.mark.parametrize("address", [f"http://127.0.0.1:9/{SECRET}", f"no address {SECRET}", f"http://a:b/{SECRET}"])
def test_a_receiver_that_is_not_there_fails_nothing_and_its_address_is_not_logged(
    alerts: ModuleType, address: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("LLMCF_ALERT_WEBHOOK", address)
    with caplog.at_level(logging.DEBUG):
        alerts.failed(FAILED)
    assert "does not answer" in caplog.text
    assert SECRET not in caplog.text
