"""vLLM's OpenAI-compatible server, started by our verb, answers our engine as the reference writes."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from core import environments
from core.errors import LlmcfError
from core.settings import PROJECT
from llm import prompts
from llm.engines import Request, Sampling, complete, open_engine

pytestmark = pytest.mark.integration
GREEDY = Sampling(temperature=0.0, repetition_penalty=1.0)
KEY = "only-for-this-test"
_START_S = 400


@pytest.fixture
def server(language_model: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    try:
        environments.python("vllm")
    except LlmcfError as error:
        pytest.skip(str(error))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("LLMCF_LLM_URL", f"http://127.0.0.1:{port}/v1")
    monkeypatch.setenv("LLMCF_LLM_KEY", KEY)
    command = [sys.executable, "-m", "llmcf", "llm", "serve", "--model", str(language_model), "--port", str(port)]
    process = subprocess.Popen(command, cwd=PROJECT, env={**os.environ}, start_new_session=True)
    try:
        _wait(process, f"http://127.0.0.1:{port}/v1/models")
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


def _wait(process: subprocess.Popen[bytes], url: str) -> None:
    end = time.monotonic() + _START_S
    while time.monotonic() < end:
        assert process.poll() is None, "the server ended"
        try:
            if httpx.get(url, headers={"Authorization": f"Bearer {KEY}"}, timeout=2).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(1)
    raise AssertionError(f"no server after {_START_S} s")


def test_the_server_writes_what_the_reference_writes(server: str, language_model: Path) -> None:
    from transformers import AutoTokenizer

    assert httpx.get(f"{server}/models").status_code == 401  # the key guards it
    tokenizer = AutoTokenizer.from_pretrained(language_model)
    questions = ["What is the capital of France?", "What is two plus two?"] * 8
    asked = [
        Request(number=n, prompt=prompts.render([{"role": "user", "content": q}], tokenizer), max_new_tokens=16)
        for n, q in enumerate(questions)
    ]
    written = {}
    for name in ("server", "transformers"):
        with open_engine(name, language_model, GREEDY) as engine:
            written[name] = {made.number: made.text.strip() for made in complete(engine, asked)}
    assert sorted(written["server"]) == list(range(16))
    assert written["server"][0] == written["transformers"][0] == "The capital of France is Paris."
