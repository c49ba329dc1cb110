"""Our side of an engine's worker: order, errors and death, played by small scripts instead of an engine."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.errors import LlmcfError, UsageError
from llm import engines
from llm.engines import Generation, Request, base, complete, process

ECHO = """
import json, sys
print(json.dumps({"ready": True}), flush=True)
held = []
for line in sys.stdin:
    held.append(json.loads(line))
    if len(held) == 2:
        for job in reversed(held):
            text = f"{job['prompt']} {job['seed']} {job['max_new_tokens']} {job['stop']}"
            print(json.dumps({"number": job["number"], "text": text, "tokens": 2, "finish": "stop"}), flush=True)
        held = []
"""
READY = 'import json, sys, os, signal; print(json.dumps({"ready": True}), flush=True); line = sys.stdin.readline(); '
ANSWER = "print(json.dumps(dict(number=0, text='', tokens=0, finish='stop')), flush=True); "


def worker(script: str, **options: float) -> process.WorkerProcess:
    return process.WorkerProcess("echo", lambda: [sys.executable, "-c", script], **options)  # pyright: ignore[reportArgumentType]


def request(number: int, prompt: str = "a") -> Request:
    return Request(number=number, prompt=prompt, max_new_tokens=5, seed=1, stop=(". ",))


def ask(script: str, prompts: list[str]) -> list[Generation]:
    with worker(script) as engine:
        return list(complete(engine, [request(number, prompt) for number, prompt in enumerate(prompts)]))


def test_answers_come_as_they_finish_and_a_worker_serves_on() -> None:
    with worker(ECHO) as engine:
        for prompts in (["a", "ü\u2028\n"], ["c", "d"]):
            made = list(complete(engine, [request(number, prompt) for number, prompt in enumerate(prompts)]))
            assert [g.number for g in made] == [1, 0]
            assert [g.text for g in reversed(made)] == [f"{p} 1 5 ['. ']" for p in prompts]


def test_no_more_than_the_window_is_under_way() -> None:
    drawn: list[int] = []

    def requests() -> Iterator[Request]:
        for number in range(6):
            drawn.append(number)
            yield request(number)

    with worker(ECHO, window=2) as engine:
        made = complete(engine, requests())
        next(made)
        assert drawn == [0, 1]
        next(made)
        assert drawn == [0, 1, 2]
        assert len(list(made)) == 4


def test_a_worker_that_stalls_is_given_up() -> None:
    with (
        pytest.raises(LlmcfError, match="has said nothing for 0 s"),
        worker(READY + "import time; time.sleep(60)", stall=0.3) as engine,
    ):
        engine.submit(request(0))
        engine.poll()


def test_a_prompt_has_a_seed_of_its_own() -> None:
    seeds = {base.prompt_seed(prompt, seed) for prompt in "abc" for seed in (1, 2)}
    assert len(seeds) == 6
    assert all(0 <= seed < 2**31 for seed in seeds)


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("raise SystemExit('no model here')", r"(?s)died \(exit code 1\).*no model here"),
        ("print('hello')", "'hello', not a JSON object"),
        ("print('[1]')", r"'\[1\]', not a JSON object"),
        ("print('{}')", "did not report that it is ready"),
        (READY + "os.kill(os.getpid(), signal.SIGKILL)", "it was killed, perhaps for want of memory"),
        (READY + "print('Loading 50%')", "'Loading 50%', not a JSON object"),
        (READY + "print('{\"number\": 0}')", "not a text"),
        (READY + 'print(json.dumps(dict(number=7, text="", tokens=0, finish="stop")))', "request 7, which nobody made"),
    ],
)
def test_a_worker_that_fails_is_a_clear_error(script: str, says: str) -> None:
    with pytest.raises(LlmcfError, match=says):
        ask(script, ["a"])


def test_leaving_early_ends_the_worker() -> None:
    with pytest.raises(KeyboardInterrupt), worker(READY + ANSWER + "import time; time.sleep(60)") as engine:
        started = engine._child._process
        next(complete(engine, [request(0), request(1)]))
        raise KeyboardInterrupt
    assert started and started.poll() is not None  # pyright: ignore[reportPossiblyUnboundVariable] -- raises swallows


def test_an_unknown_engine_is_answered_with_the_choices(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'llamacpp'; choose one of: vllm, openvino, transformers, server"):
        engines.open_engine("llamacpp", tmp_path)


@pytest.mark.parametrize("name", ["vllm", "openvino"])
def test_an_environment_that_is_not_built_is_named(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMCF_ENVS", str(tmp_path))
    with pytest.raises(LlmcfError, match=f"make env-{name}"):
        engines.open_engine(name, tmp_path)
