"""`--engine ray` on a cluster of this machine with two CPUs: the texts of a run without Ray, whoever dies meanwhile.

Lane: `make test`, which builds the environment where Ray can be fetched.
"""

import contextlib
import json
import os
import secrets
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest

from core import environments, settings
from core.errors import LlmcfError, Unavailable, UsageError
from llm.engines import Sampling
from llm.texts import ray_writing
from llm.texts.cache import Entry, TextCache, prompt_hash
from llm.texts.queue import Part
from llm.texts.recipes import Budget, Manner
from llm.texts.worklog import Account
from llm.texts.writing import Task, fill

pytestmark = pytest.mark.integration
MANNER = Manner(engine="server", seed=1, sampling=Sampling(), part_tokens=20, sentence=True, attempts=2)
TEXTS = 40
MODEL = Path("tiny")
# A cluster that others have started, as on many machines: it knows no variable of ours.
CLUSTER = """
import ray, sys
ray.init(address="local", num_cpus=2, include_dashboard=False)
print(ray.get_runtime_context().gcs_address, flush=True)
sys.stdin.read()
ray.shutdown()
"""
RUN = "from tests.integration.test_ray import written; written(ray=True)"


class Server(ThreadingHTTPServer):
    """A model behind a URL; `after` so many answers it calls `then`, once."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: Counter[str] = Counter()
        self.after, self.then = 0, lambda: None
        self.status, self.seconds = 200, 0.02
        self.keys: set[str | None] = set()
        self.lock, self.ended = threading.Lock(), threading.Event()


class Handler(BaseHTTPRequestHandler):
    server: Server  # pyright: ignore[reportIncompatibleVariableOverride] - the base class knows less

    def do_GET(self) -> None:
        self._answer(200, {"data": [{"id": str(MODEL)}]})

    def do_POST(self) -> None:
        prompt = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["prompt"]
        with self.server.lock:
            self.server.asked[prompt] += 1
            self.server.keys.add(self.headers.get("Authorization"))
            due = self.server.asked.total() == self.server.after
        if due:
            self.server.then()
        self.server.ended.wait(self.server.seconds)
        said = "nobody thought of this before today" if "Two" in prompt else "it is a calm answer with many other words"
        text = f" {said}, number {len(prompt)}. "
        choice = {"text": text, "finish_reason": "stop"}
        self._answer(self.server.status, {"choices": [choice], "usage": {"completion_tokens": 3}})

    def _answer(self, status: int, value: dict) -> None:
        text = json.dumps(value).encode()
        with contextlib.suppress(ConnectionError):  # who has asked was killed
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture(scope="module")
def python() -> Path:
    try:
        return environments.python("ray")
    except LlmcfError as error:
        pytest.skip(str(error))


@pytest.fixture
def server(python: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    running = Server()
    threading.Thread(target=running.serve_forever, daemon=True).start()
    monkeypatch.setenv("LLMCF_LLM_URL", f"http://127.0.0.1:{running.server_port}/v1")
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path))
    monkeypatch.setenv("LLMCF_RAY_ACTORS", "2")
    monkeypatch.delenv("LLMCF_RAY_ADDRESS", raising=False)
    yield running
    running.ended.set()
    running.shutdown()
    running.server_close()


@pytest.fixture(scope="module")
def others(python: Path) -> Iterator[dict[str, str]]:
    """A cluster of others', by the variables that lead to it."""
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_USAGE_STATS_ENABLED": "0"}
    plain = {name: value for name, value in os.environ.items() if not name.startswith("LLMCF_")}
    process = subprocess.Popen(
        [python, "-c", CLUSTER],
        env=plain | token,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with process:
        assert process.stdout
        yield token | {"LLMCF_RAY_ADDRESS": process.stdout.readline().strip()}
        assert process.stdin
        process.stdin.close()


@pytest.fixture
def cluster(
    server: Server, others: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:  # after `server`, which unsets
    for name, value in others.items():
        monkeypatch.setenv(name, value)


def tasks() -> dict[str, Task]:
    names = [prompt_hash(str(number)) for number in range(TEXTS)]
    return {
        name: Task(name=name, prompt="p" * number + " ", openings=("One", "Two"), manner=MANNER)
        for number, name in enumerate(names)
    }


def written(*, ray: bool, limits: Budget | None = None, part: Part | None = None) -> Account:
    cache = TextCache(MANNER.cache_key("m"))
    return fill(cache, tasks(), limits or Budget(), manner=MANNER, model=MODEL, part=part, ray=ray)


def texts() -> dict[str, Entry]:
    cache = TextCache(MANNER.cache_key("m"))
    return {name: entry for name in tasks() if (entry := cache.get(name))}


def writers() -> list[psutil.Process]:
    """Our writers under the cluster of this test, by the home that they were given."""
    found = []
    for process in psutil.process_iter():
        try:
            if "llm.texts.remote" in process.cmdline() and process.environ().get("LLMCF_HOME") == str(settings.home()):
                found.append(process)
        except psutil.Error:
            continue
    return found


@pytest.fixture
def without_ray(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Entry]:
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path / "without"))
    assert written(ray=False).texts == TEXTS
    found = texts()
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path / "with"))
    server.asked.clear()
    return found


def test_ray_writes_what_is_missing_and_nothing_else(without_ray: dict[str, Entry], server: Server) -> None:
    assert written(ray=False, limits=Budget(rows=10)).texts == 10
    server.asked.clear()
    account = written(ray=True)
    assert (account.texts, account.lost) == (TEXTS - 10, 0)
    assert account.tokens == 6 * (TEXTS - 10)
    assert texts() == without_ray
    assert set(server.asked.values()) == {1}
    assert written(ray=True).texts == 0, "no cluster starts for nothing"
    assert writers() == []


@pytest.mark.usefixtures("cluster")
def test_a_writer_and_an_actor_that_are_killed_are_started_again(without_ray: dict[str, Entry], server: Server) -> None:
    def kill_the_actor() -> None:
        actor = writers()[0].parent()
        assert actor
        actor.kill()

    def kill_the_writer() -> None:
        server.after, server.then = 50, kill_the_actor
        writers()[0].kill()

    server.after, server.then = 20, kill_the_writer
    assert written(ray=True).texts == TEXTS
    assert server.asked.total() > 2 * TEXTS
    assert texts() == without_ray
    assert writers() == []


@pytest.mark.usefixtures("cluster")
def test_an_error_of_the_engine_is_told_and_what_was_finished_is_kept(
    without_ray: dict[str, Entry], server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_writing, "_BATCH", 5)
    server.after, server.then = 45, lambda: setattr(server, "status", 400)
    with pytest.raises(LlmcfError, match="answered 400"):
        written(ray=True)
    assert 0 < len(texts()) < TEXTS
    server.status = 200
    written(ray=False)
    assert texts() == without_ray


@pytest.mark.usefixtures("cluster")
def test_a_part_goes_through_ray_too_a_budget_ends_it_and_no_key_is_sent(
    without_ray: dict[str, Entry], server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMCF_LLM_KEY", "a secret")
    server.keys.clear()
    part = Part(0, 2)
    assert written(ray=True, limits=Budget(rows=7), part=part).texts == 7
    assert len(texts()) == 7
    assert all(part.has(name) and without_ray[name] == entry for name, entry in texts().items())
    assert server.keys == {None}, "a key is the machines' own"


@pytest.mark.usefixtures("cluster")
def test_who_is_killed_leaves_no_writer_behind(server: Server) -> None:
    server.seconds = 60.0  # nothing is finished meanwhile, so that nothing is sent to whom it was for
    with subprocess.Popen([sys.executable, "-c", RUN], cwd=settings.PROJECT, stderr=subprocess.DEVNULL) as run:
        deadline = time.monotonic() + 60
        while not server.asked:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        run.kill()
    deadline = time.monotonic() + 30
    while writers():
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.mark.parametrize(
    ("variable", "value", "kind", "said"),
    [
        ("LLMCF_RAY_ADDRESS", "127.0.0.1:1", Unavailable, "no Ray cluster answers at 127.0.0.1:1"),
        ("LLMCF_RAY_ADDRESS", "ray://head", UsageError, "'ray://head' is neither auto nor host:port"),
    ],
)
def test_what_cannot_be_is_said(
    server: Server, variable: str, value: str, kind: type, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(kind, match=said):
        written(ray=True)
    assert not server.asked
