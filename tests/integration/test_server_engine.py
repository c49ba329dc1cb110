"""The engine over an OpenAI-compatible server: what it sends, what it tries again, what it gives up."""

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from core.errors import LlmcfError
from llm.engines import Request, Sampling, complete
from llm.engines.server_engine import ATTEMPTS, ServerEngine

pytestmark = pytest.mark.integration


class Server(ThreadingHTTPServer):
    """Answers completions; `plan` is a list of statuses that come first, `delay` seconds a request.

    With a `gate` the first requests wait until as many are under way as it is for.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.plan: list[int] = []
        self.seen: list[dict] = []
        self.keys: list[str | None] = []
        self.delay = 0.0
        self.gate: threading.Barrier | None = None
        self.live = self.most = self.taken = 0
        self.lock = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    server: Server  # pyright: ignore[reportIncompatibleVariableOverride] - the base class knows less

    def do_GET(self) -> None:
        self._answer(200, {"data": [{"id": "tiny"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.live += 1
            self.server.most = max(self.server.most, self.server.live)
            self.server.keys.append(self.headers.get("Authorization"))
            status = self.server.plan.pop(0) if self.server.plan else 200
            self.server.taken += 1
            first = self.server.gate is not None and self.server.taken <= self.server.gate.parties
        if first and self.server.gate:
            self.server.gate.wait(timeout=60)
        time.sleep(self.server.delay)
        with self.server.lock:
            self.server.live -= 1
            if status == 200:
                self.server.seen.append(body)
        choice = {"text": f" {body['prompt']}!", "finish_reason": "stop"}
        self._answer(status, {"choices": [choice], "usage": {"completion_tokens": 3}})

    def _answer(self, status: int, value: dict) -> None:
        text = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    running = Server()
    threading.Thread(target=running.serve_forever, daemon=True).start()
    monkeypatch.setenv("LLMCF_LLM_URL", f"http://127.0.0.1:{running.server_port}/v1")
    yield running
    running.shutdown()
    running.server_close()


def requests(count: int) -> list[Request]:
    return [Request(number=n, prompt=f"p{n}", max_new_tokens=7, stop=(". ",)) for n in range(count)]


def test_requests_go_out_in_parallel_and_every_answer_comes_once(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMCF_LLM_KEY", "secret")
    server.gate = threading.Barrier(8)  # broken, and the answer with it, unless so many come side by side
    with ServerEngine(Sampling(temperature=0.3)) as engine:
        made = {one.number: one for one in complete(engine, requests(80))}
        assert server.most <= engine.window
    assert sorted(made) == list(range(80))
    assert made[5].text == " p5!"
    assert (made[5].tokens, made[5].finish) == (3, "stop")
    assert set(server.keys) == {"Bearer secret"}
    sent = server.seen[0]
    assert (sent["model"], sent["max_tokens"], sent["temperature"], sent["stop"]) == ("tiny", 7, 0.3, [". "])
    assert "seed" not in sent


def test_a_busy_server_is_tried_again(server: Server) -> None:
    server.plan = [503, 429, 500]
    with ServerEngine(Sampling(), pause=0.01) as engine:
        assert [one.number for one in complete(engine, requests(1))] == [0]
    assert len(server.keys) == 4


def test_a_server_that_stays_busy_is_given_up(server: Server) -> None:
    server.plan = [503] * 100
    with pytest.raises(LlmcfError, match="answered 503"), ServerEngine(Sampling(), pause=0.01) as engine:
        list(complete(engine, requests(1)))
    assert len(server.keys) == ATTEMPTS


def test_a_refused_request_is_not_tried_again(server: Server) -> None:
    server.plan = [400]
    with pytest.raises(LlmcfError, match="answered 400"), ServerEngine(Sampling(), pause=0.01) as engine:
        list(complete(engine, requests(1)))
    assert len(server.keys) == 1


def test_a_slow_request_times_out(server: Server) -> None:
    server.delay = 0.5
    engine = ServerEngine(Sampling(), timeout=0.1, pause=0.01)
    with pytest.raises(LlmcfError, match="ReadTimeout"), engine:
        list(complete(engine, requests(1)))


def test_no_server_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMCF_LLM_URL", "http://127.0.0.1:9/v1")
    with pytest.raises(LlmcfError, match=r"no model server answers at http://127.0.0.1:9/v1 \(LLMCF_LLM_URL\)"):
        ServerEngine(Sampling()).__enter__()
