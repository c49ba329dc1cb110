"""Workers that are killed again and again, and workers side by side, write every text exactly once.

Nothing here hangs on who is scheduled when: a worker stops by itself where it is to be killed, and workers that are to
meet wait for each other with their first shard in their hands.
"""

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
NEVER = 10**9
WORKER = f"""
import sys, time
from pathlib import Path
from core import settings
from llm.engines import Generation, Sampling
from llm.texts.cache import TextCache, WorkQueue, prompt_hash
from llm.texts.recipes import Budget, Manner
from llm.texts.writing import Task, Writer

place, lives, party = map(int, sys.argv[1:])

class Slow:
    "Waits at the first text until `party` workers hold one, and for ever after `lives` texts."
    name, window = "slow", 16
    def __init__(self): self.waiting, self.made = [], 0
    def submit(self, request): self.waiting.append(request)
    def poll(self):
        if self.made == 0:
            here = settings.home() / "here"
            here.mkdir(parents=True, exist_ok=True)
            (here / str(place)).touch()
            while len(list(here.iterdir())) < party: time.sleep(0.01)
        if self.made == lives:
            print("stopped", flush=True)
            time.sleep(3600)
        self.made += 1
        time.sleep(0.002)
        request = self.waiting.pop(0)
        word = str(len(request.prompt))
        text = f" it is a calm answer to prompt number {{word}} with many other words. "
        return Generation(number=request.number, text=text, tokens=3, finish="stop")

names = [prompt_hash(str(n)) for n in range({TEXTS})]
manner = Manner(engine="slow", seed=1, sampling=Sampling(), part_tokens=20, sentence=True, attempts=2)
tasks = {{name: Task(name=name, prompt="p" * n, openings=("One",), manner=manner) for n, name in enumerate(names)}}
cache = TextCache({{"model": "m"}})
queue = WorkQueue(cache, [n for n in names if cache.get(n) is None], start=place)
print("writing", flush=True)
print(Writer(Slow(), cache, queue, tasks, Budget()).run().texts)
"""


def start(place: int = 0, *, lives: int = NEVER, party: int = 1) -> subprocess.Popen[str]:
    """A worker that begins at the shard `place`."""
    command = [sys.executable, "-c", WORKER, *map(str, (place, lives, party))]
    worker = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True)
    await_word(worker, "writing")
    return worker


def await_word(worker: subprocess.Popen[str], word: str) -> None:
    assert worker.stdout
    assert worker.stdout.readline() == f"{word}\n"


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
    """Killed while it writes, or at the latest where it stops by itself: ten times 30 texts are not all."""
    rng = random.Random(7)
    for _ in range(10):
        with start(rng.randrange(64), lives=30) as worker:
            time.sleep(rng.uniform(0.01, 0.06))
            worker.kill()
        assert worker.returncode == -signal.SIGKILL
    assert len(lines()) < TEXTS
    start().communicate()
    assert sorted(lines()) == unbroken
    assert len({line[0] for line in lines()}) == TEXTS


def test_three_workers_at_once_write_each_text_once(unbroken: list[list]) -> None:
    workers = [start(place, party=3) for place in (0, 20, 40)]
    written = [int(worker.communicate()[0]) for worker in workers]
    assert sum(written) == TEXTS
    assert all(written)
    assert sorted(lines()) == unbroken


def test_the_rest_of_a_worker_that_dies_goes_to_those_who_live(unbroken: list[list]) -> None:
    with start(0, lives=10) as dying:
        await_word(dying, "stopped")
        held = len(lines())
        living = start(32)
        dying.kill()
    assert int(living.communicate()[0]) == TEXTS - held
    assert sorted(lines()) == unbroken
    assert prompt_hash("0") in {line[0] for line in lines()}
