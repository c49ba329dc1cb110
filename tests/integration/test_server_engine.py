"""The engine over an OpenAI-compatible server: what it sends, what it tries again, what it gives up."""

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from core.errors import LlmcfError, Unavailable, UsageError
from llm import models
from llm.engines import Request, Sampling, complete
from llm.engines.server_engine import ATTEMPTS, ServerEngine
from tests import tiny_llama

pytestmark = pytest.mark.integration
TINY = Path("tiny")


class Server(ThreadingHTTPServer):
    """Answers completions; `plan` is a list of statuses that come first, `delay` seconds a request.

    With a `gate` the first requests wait until as many are under way as it is for.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.plan: list[int] = []
        self.models: Any = [{"id": "another"}, {"id": "tiny"}]
        self.answer: Any = None  # in place of a good one
        self.seen: list[dict] = []
        self.keys: list[str | None] = []
        self.delay = 0.0
        self.gate: threading.Barrier | None = None
        self.live = self.most = self.taken = 0
        self.lock = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    server: Server  # pyright: ignore[reportIncompatibleVariableOverride] - the base class knows less

    def do_GET(self) -> None:
        self._answer(200, {"data": self.server.models})

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
        good = {"choices": [choice], "usage": {"completion_tokens": 3}}
        self._answer(status, good if self.server.answer is None else self.server.answer)

    def _answer(self, status: int, value: Any) -> None:
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


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama.write(tmp_path_factory.mktemp("models") / "own")


def requests(count: int) -> list[Request]:
    return [Request(number=n, prompt=f"p{n}", max_new_tokens=7, stop=(". ",)) for n in range(count)]


def test_requests_go_out_in_parallel_and_every_answer_comes_once(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMCF_LLM_KEY", "secret")
    server.gate = threading.Barrier(8)  # broken, and the answer with it, unless so many come side by side
    with ServerEngine(TINY, Sampling(temperature=0.3)) as engine:
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
    with ServerEngine(TINY, Sampling(), pause=0.01) as engine:
        assert [one.number for one in complete(engine, requests(1))] == [0]
    assert len(server.keys) == 4


def test_a_server_that_stays_busy_is_given_up(server: Server) -> None:
    server.plan = [503] * 100
    with pytest.raises(LlmcfError, match="answered 503"), ServerEngine(TINY, Sampling(), pause=0.01) as engine:
        list(complete(engine, requests(1)))
    assert len(server.keys) == ATTEMPTS


def test_a_refused_request_is_not_tried_again(server: Server) -> None:
    server.plan = [400]
    with pytest.raises(LlmcfError, match="answered 400"), ServerEngine(TINY, Sampling(), pause=0.01) as engine:
        list(complete(engine, requests(1)))
    assert len(server.keys) == 1


def test_a_slow_request_times_out(server: Server) -> None:
    server.delay = 0.5
    engine = ServerEngine(TINY, Sampling(), timeout=0.1, pause=0.01)
    with pytest.raises(LlmcfError, match="ReadTimeout"), engine:
        list(complete(engine, requests(1)))


def test_no_server_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMCF_LLM_URL", "http://127.0.0.1:9/v1")
    with pytest.raises(LlmcfError, match=r"no model server answers at http://127.0.0.1:9/v1 \(LLMCF_LLM_URL\)"):
        ServerEngine(TINY, Sampling()).__enter__()


def test_texts_of_another_model_are_taken_from_no_server(server: Server, model: Path) -> None:
    """They would be kept as the named one's, for good."""
    with pytest.raises(UsageError, match=f"serves another, tiny, not {model}; start it by `llmcf llm serve`"):
        ServerEngine(model, Sampling()).__enter__()
    server.models = [{"id": models.model_hash(model)}]
    with ServerEngine(model, Sampling()) as engine:
        list(complete(engine, requests(1)))
    assert server.seen[0]["model"] == models.model_hash(model)


@pytest.mark.parametrize("told", [None, [], [None], [{}], "tiny"])
def test_a_server_that_says_no_models_is_a_clear_error(server: Server, model: Path, told: Any) -> None:
    server.models = told
    with pytest.raises(LlmcfError, match=r"no model server answers|serves nothing"):
        ServerEngine(model, Sampling()).__enter__()


@pytest.mark.parametrize("answer", [[], {"choices": None}, {"choices": []}, {"choices": [None]}, {"choices": [{}]}])
def test_an_answer_that_is_none_is_a_clear_error(server: Server, answer: Any) -> None:
    server.answer = answer
    with pytest.raises(Unavailable, match="finished texts are kept"), ServerEngine(TINY, Sampling()) as engine:
        list(complete(engine, requests(1)))


def test_a_server_need_not_count_tokens(server: Server) -> None:
    server.answer = {"choices": [{"text": "x", "finish_reason": None}], "usage": None}
    with ServerEngine(TINY, Sampling()) as engine:
        (made,) = complete(engine, requests(1))
    assert (made.text, made.tokens, made.finish) == ("x", 0, "length")


@pytest.mark.parametrize("url", ["http://127.0.0.1:port/v1", "127.0.0.1:8000", "ftp://host/v1", "http://"])
def test_an_address_that_is_none_is_told(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("LLMCF_LLM_URL", url)
    with pytest.raises(UsageError, match=r"LLMCF_LLM_URL is .* it is an address such as"):
        ServerEngine(TINY, Sampling())


def test_a_password_is_no_part_of_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMCF_LLM_URL", "http://user:secret@host/v1")
    with pytest.raises(UsageError, match="LLMCF_LLM_KEY is the place of a credential") as caught:
        ServerEngine(TINY, Sampling())
    assert "secret" not in str(caught.value)
