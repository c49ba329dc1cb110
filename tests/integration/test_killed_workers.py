"""Workers that are killed again and again, and workers side by side, write every text exactly once."""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from core.settings import PROJECT
from llm.texts.cache import TextCache, prompt_hash

pytestmark = pytest.mark.integration
TEXTS = 400
WORKER = f"""
import sys, time
from llm.engines import Generation
from llm.texts.cache import TextCache, WorkQueue, prompt_hash
from llm.texts.recipes import Budget, Manner
from llm.texts.writing import Task, Writer

class Slow:
    name, window = "slow", 16
    def __init__(self): self.waiting = []
    def submit(self, request): self.waiting.append(request)
    def poll(self):
        time.sleep(0.002)
        request = self.waiting.pop(0)
        word = str(len(request.prompt))
        text = f" it is a calm answer to prompt number {{word}} with many other words. "
        return Generation(number=request.number, text=text, tokens=3, finish="stop")

names = [prompt_hash(str(n)) for n in range({TEXTS})]
tasks = {{
    name: Task(name=name, prompt="p" * n, openings=("One",), part_tokens=20, sentence=True, seed=1, attempts=2)
    for n, name in enumerate(names)
}}
cache = TextCache({{"model": "m"}})
queue = WorkQueue(cache, [n for n in names if cache.get(n) is None], start=int(sys.argv[1]))
print("writing", flush=True)
print(Writer(Slow(), cache, queue, tasks, Budget()).run().texts)
"""


def start(place: int = 0) -> subprocess.Popen:
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(place)], cwd=PROJECT, stdout=subprocess.PIPE, text=True
    )
    assert worker.stdout
    assert worker.stdout.readline() == "writing\n"
    return worker


def lines() -> list[list]:
    """Every whole line of every shard."""
    found = []
    for path in sorted(TextCache({"model": "m"}).folder.glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
            try:
                found.append(json.loads(line))
            except ValueError:
                continue
    return found


@pytest.fixture
def unbroken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list]:
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path / "unbroken"))
    assert start().communicate()[0].strip() == str(TEXTS)
    found = sorted(lines())
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path / "broken"))
    return found


def test_a_run_killed_ten_times_ends_as_an_unbroken_one(unbroken: list[list]) -> None:
    rng = random.Random(7)
    killed = 0
    while killed < 10:
        worker = start(rng.randrange(64))
        time.sleep(rng.uniform(0.01, 0.06))
        worker.send_signal(signal.SIGKILL)
        killed += worker.wait() == -signal.SIGKILL
    assert len(lines()) < TEXTS
    start().communicate()
    assert sorted(lines()) == unbroken
    assert len({line[0] for line in lines()}) == TEXTS


def test_three_workers_at_once_write_each_text_once(unbroken: list[list]) -> None:
    workers = [start(place) for place in (0, 20, 40)]
    written = [int(worker.communicate()[0]) for worker in workers]
    assert sum(written) == TEXTS
    assert all(written)
    assert sorted(lines()) == unbroken


def test_the_rest_of_a_worker_that_dies_goes_to_those_who_live(unbroken: list[list]) -> None:
    dying, living = start(0), start(32)
    time.sleep(0.1)
    dying.kill()
    living.communicate()
    assert sorted(lines()) == unbroken
    assert prompt_hash("0") in {line[0] for line in lines()}
