"""Our side of an engine's worker: order, errors and death, played by small scripts instead of an engine."""

import sys
from pathlib import Path

import pytest

from core.errors import LlmcfError, UsageError
from llm import engines
from llm.engines import Generation, base, process

ECHO = """
import json, sys
print(json.dumps({"ready": True}), flush=True)
for line in sys.stdin:
    job = json.loads(line)
    for index in reversed(range(len(job["prompts"]))):
        text = f"{job['prompts'][index]} {job['seeds'][index] % 7 >= 0} {job['max_new_tokens']}"
        print(json.dumps({"index": index, "text": text, "tokens": 2, "finish": "stop"}), flush=True)
    print(json.dumps({"done": True}), flush=True)
"""
READY = 'import json, sys, os, signal; print(json.dumps({"ready": True}), flush=True); line = sys.stdin.readline(); '


def worker(script: str) -> process.WorkerProcess:
    return process.WorkerProcess("echo", lambda: [sys.executable, "-c", script])


def ask(script: str, prompts: list[str]) -> list[Generation]:
    with worker(script) as engine:
        return list(engine.generate(prompts, max_new_tokens=5, seed=1))


def test_answers_come_as_they_finish_and_a_worker_serves_many_jobs() -> None:
    with worker(ECHO) as engine:
        for prompts in (["a", "ü\u2028\n"], ["c"]):
            made = list(engine.generate(prompts, max_new_tokens=5, seed=1))
            assert [g.index for g in made] == list(reversed(range(len(prompts))))
            assert [g.text for g in reversed(made)] == [f"{p} True 5" for p in prompts]


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
        (READY + "print('{\"index\": 0}')", "not a text"),
        (READY + 'print(json.dumps(dict(index=7, text="", tokens=0, finish="stop")))', "prompt 7 of 1"),
    ],
)
def test_a_worker_that_fails_is_a_clear_error(script: str, says: str) -> None:
    with pytest.raises(LlmcfError, match=says):
        ask(script, ["a"])


def test_leaving_early_ends_the_worker() -> None:
    script = (
        READY
        + "print(json.dumps(dict(index=0, text='', tokens=0, finish='stop')), flush=True); import time; time.sleep(60)"
    )
    with pytest.raises(KeyboardInterrupt), worker(script) as engine:
        started = engine._process
        next(engine.generate(["a", "b"], max_new_tokens=5, seed=1))
        raise KeyboardInterrupt
    assert started and started.poll() is not None  # pyright: ignore[reportPossiblyUnboundVariable] -- raises swallows


def test_an_unknown_engine_is_answered_with_the_choices(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'llamacpp'; choose one of: vllm, openvino, transformers"):
        engines.open_engine("llamacpp", tmp_path)


@pytest.mark.parametrize("name", ["vllm", "openvino"])
def test_an_environment_that_is_not_built_is_named(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMCF_ENVS", str(tmp_path))
    with pytest.raises(LlmcfError, match=f"make env-{name}"):
        engines.open_engine(name, tmp_path)
