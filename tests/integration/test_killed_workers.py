"""Workers that are killed again and again, stopped, and side by side write every text exactly once.

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

from core import settings
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
from llm.texts.cache import TextCache, prompt_hash
from llm.texts.queue import OwnPart, Part, SharedQueue
from llm.texts.recipes import Budget, Manner
from llm.texts.writing import Task, Writer

place, lives, party, count = map(int, sys.argv[1:])

class Slow:
    "Waits at the first text until `party` workers hold one, and after `lives` texts until it is told to go on."
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
            while not (settings.home() / "go").exists(): time.sleep(0.01)
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
missing = [n for n in names if cache.get(n) is None]
queue = OwnPart(missing, Part(place, count)) if count else SharedQueue(cache, missing, start=place)
print("writing", flush=True)
account = Writer(Slow(), cache, queue, tasks, Budget()).run()
print(account.texts, account.lost)
"""


def start(place: int = 0, *, lives: int = NEVER, party: int = 1, count: int = 0) -> subprocess.Popen[str]:
    """A worker that begins at the shard `place` of the queue, or has the part `place` of `count`."""
    command = [sys.executable, "-c", WORKER, *map(str, (place, lives, party, count))]
    worker = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True)
    await_word(worker, "writing")
    return worker


def await_word(worker: subprocess.Popen[str], word: str) -> None:
    assert worker.stdout
    assert worker.stdout.readline() == f"{word}\n"


def end(worker: subprocess.Popen[str]) -> tuple[int, int]:
    """How many texts a worker wrote, and how many it lost with their lease."""
    texts, lost = map(int, worker.communicate()[0].split())
    assert worker.returncode == 0
    return texts, lost


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
    monkeypatch.setenv("LLMCF_LEASE_SECONDS", "1")
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path / "unbroken"))
    assert end(start()) == (TEXTS, 0)
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
    end(start())
    assert sorted(lines()) == unbroken
    assert len({line[0] for line in lines()}) == TEXTS


def test_three_workers_at_once_write_each_text_once(unbroken: list[list]) -> None:
    workers = [start(place, party=3) for place in (0, 20, 40)]
    written = [end(worker)[0] for worker in workers]
    assert sum(written) == TEXTS
    assert all(written)
    assert sorted(lines()) == unbroken


def test_the_rest_of_a_worker_that_dies_goes_to_those_who_live(unbroken: list[list]) -> None:
    """Two of them, who both want its leases."""
    with start(0, lives=10) as dying:
        await_word(dying, "stopped")
        held = len(lines())
        living = [start(place) for place in (0, 32)]
        dying.kill()
    assert sum(end(worker)[0] for worker in living) == TEXTS - held
    assert sorted(lines()) == unbroken
    assert prompt_hash("0") in {line[0] for line in lines()}


def test_a_worker_that_was_stopped_finds_its_lease_taken_over_and_writes_nothing_twice(unbroken: list[list]) -> None:
    """As a machine that is suspended, or a network that is gone for a while."""
    with start(0, lives=10) as sleeper:
        await_word(sleeper, "stopped")
        sleeper.send_signal(signal.SIGSTOP)
        held = len(lines())
        assert end(start(32)) == (TEXTS - held, 0)
        (settings.home() / "go").touch()
        sleeper.send_signal(signal.SIGCONT)
        written, lost = end(sleeper)
    assert written == held
    assert lost > 0
    assert sorted(lines()) == unbroken


@pytest.mark.parametrize("count", [2, 3])
def test_parts_side_by_side_give_the_texts_of_one_run(unbroken: list[list], count: int) -> None:
    workers = [start(index, party=count, count=count) for index in range(count)]
    written = [end(worker)[0] for worker in workers]
    assert sum(written) == TEXTS
    assert all(written)
    assert sorted(lines()) == unbroken
    cache = TextCache({"model": "m"}).folder
    assert not [path for path in cache.iterdir() if "lease" in path.name], "a part takes no lock"


def test_the_queue_ends_what_a_killed_part_has_left(unbroken: list[list]) -> None:
    with start(0, lives=10, count=2) as dying:
        await_word(dying, "stopped")
        dying.kill()
    end(start(1, count=2))
    assert len(lines()) < TEXTS
    end(start())
    assert sorted(lines()) == unbroken
