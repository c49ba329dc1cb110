"""What the DAGs tell of runs that failed or are late."""

import asyncio
import importlib.util
import json
import logging
from collections.abc import Iterator
from dataclasses import fields
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from types import ModuleType, SimpleNamespace

import pytest

from core.alerts import Alert
from core.settings import PROJECT

SECRET = "opensesame"


@pytest.fixture
def alerts() -> ModuleType:
    """The file as Airflow loads it: by its path."""
    spec = importlib.util.spec_from_file_location("alerts", PROJECT / "dags" / "alerts.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def posted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict]]:
    """What a receiver on loopback is sent."""
    found: list[dict] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            found.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Receiver) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("LLMCF_ALERT_WEBHOOK", f"http://127.0.0.1:{server.server_port}/{SECRET}")
        yield found
        server.shutdown()


FAILED = {
    "dag": SimpleNamespace(dag_id="release", params={"dataset": "shop"}),
    "run_id": "r1",
    "reason": "task_failure",
}
RUN = {"dag_id": "release", "dag_run_id": "r1"}


def test_a_failed_and_a_late_run_are_told_as_other_alerts_are(alerts: ModuleType, posted: list[dict]) -> None:
    alerts.failed(FAILED)
    asyncio.run(alerts.late(context={"dag_run": RUN, "deadline": {"id": "d"}}, dataset="shop"))
    assert [one["id"] for one in posted] == ["run-failed:release:r1", "run-late:release:r1"]
    assert [one["text"] for one in posted] == ["release failed: task_failure", "release is late: r1 has not ended"]
    names = {one.name for one in fields(Alert)}
    for one, kind in zip(posted, alerts.KINDS, strict=True):
        assert names == set(one)
        assert one["kind"] == kind
        assert one["dataset"] == "shop"
        assert one["figures"] == {"dag": "release", "run": "r1"}


def test_without_a_receiver_it_is_in_the_log(alerts: ModuleType, caplog: pytest.LogCaptureFixture) -> None:
    alerts.failed(FAILED)
    assert [one.getMessage() for one in caplog.records] == ["alert run-failed:release:r1: release failed: task_failure"]


@pytest.mark.parametrize("address", [f"http://127.0.0.1:9/{SECRET}", f"no address {SECRET}"])
def test_a_receiver_that_is_not_there_fails_nothing_and_its_address_is_not_logged(
    alerts: ModuleType, address: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("LLMCF_ALERT_WEBHOOK", address)
    with caplog.at_level(logging.DEBUG):
        alerts.failed(FAILED)
    assert "does not answer" in caplog.text
    assert SECRET not in caplog.text
