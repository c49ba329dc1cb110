"""An alert is said once and posted once, and nobody learns the webhook's address from a log."""

import json
import logging
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from core import alerts
from core.alerts import Alert
from core.errors import UsageError

SECRET = "T0K3N"
ALERT = Alert(
    id="shop 2026-01-31 feature-drift", kind="feature-drift", dataset="shop", text="it moved", figures={"n": 1}
)


class Receiver(HTTPServer):
    """Answers with the codes of `answers`, one a request, then with 200; keeps what it got."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: list[int] = []
        self.got: list[dict] = []
        self.keys: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook/{SECRET}"


class _Handler(BaseHTTPRequestHandler):
    server: Receiver  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append(json.loads(body))
        self.server.keys.append(self.headers["Idempotency-Key"])
        self.send_response(self.server.answers.pop(0) if self.server.answers else 200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path))
    monkeypatch.delenv("LLMCF_ALERT_WEBHOOK", raising=False)
    monkeypatch.setattr(alerts, "_WAIT_S", 0.01)


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    with Receiver() as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv("LLMCF_ALERT_WEBHOOK", server.url)
        yield server
        server.shutdown()
        thread.join()


def test_without_a_webhook_it_is_said_once(capsys: pytest.CaptureFixture[str]):
    assert alerts.send(ALERT)
    assert not alerts.send(ALERT)
    assert capsys.readouterr().err == "ALERT feature-drift (shop): it moved\n"


def test_it_is_posted_once(receiver: Receiver, capsys: pytest.CaptureFixture[str]):
    assert alerts.send(ALERT)
    assert not alerts.send(ALERT)
    (got,) = receiver.got
    assert got == {
        "id": ALERT.id, "kind": "feature-drift", "dataset": "shop", "text": "it moved", "figures": {"n": 1}
    }  # fmt: skip
    assert receiver.keys[0]
    assert capsys.readouterr().err.count("ALERT") == 1


def test_a_busy_receiver_is_asked_again(receiver: Receiver):
    receiver.answers = [503, 429]
    assert alerts.send(ALERT)
    assert len(receiver.got) == 3
    assert len(set(receiver.keys)) == 1


@pytest.mark.parametrize(("answers", "posts", "why"), [([500] * 3, 3, "500"), ([403], 1, "403"), ([302], 1, "302")])
def test_what_is_not_taken_is_told_and_sent_again(
    receiver: Receiver, capsys: pytest.CaptureFixture[str], answers: list[int], posts: int, why: str
):
    receiver.answers = list(answers)
    assert alerts.send(ALERT)
    assert len(receiver.got) == posts
    told = capsys.readouterr().err
    assert f"it answered {why}" in told
    assert alerts.send(ALERT), "the second time it is taken"
    assert not alerts.send(ALERT)
    assert len(receiver.got) == posts + 1
    assert "ALERT" not in capsys.readouterr().err


def test_no_log_has_the_address(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.DEBUG)
    with Receiver() as server:
        url = server.url  # nobody listens after this block
    monkeypatch.setenv("LLMCF_ALERT_WEBHOOK", url)
    assert alerts.send(ALERT)
    told = capsys.readouterr().err
    assert "did not take the alert" in told
    assert "ConnectError" in told
    assert SECRET not in told + caplog.text
    assert logging.getLogger("httpx").level == logging.NOTSET


def test_a_successful_post_does_not_log_the_address(receiver: Receiver, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG)
    alerts.send(ALERT)
    assert SECRET not in caplog.text


def test_an_address_that_is_none_is_refused_without_being_told(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LLMCF_ALERT_WEBHOOK", SECRET)
    with pytest.raises(UsageError, match="LLMCF_ALERT_WEBHOOK is no http") as refused:
        alerts.send(ALERT)
    assert SECRET not in str(refused.value)


def test_figures_that_json_does_not_have_are_null(receiver: Receiver):
    alerts.send(Alert(id="x", kind="auc", dataset="shop", text="", figures={"auc": float("nan")}))
    assert receiver.got[0]["figures"] == {"auc": None}
