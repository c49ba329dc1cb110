"""What is told of a run under way: shares, owners, pace, time left; as Prometheus text too."""

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from core import storage
from core.errors import LlmcfError, Missing, UsageError
from core.result import Result
from core.settings import Workspace
from llm.engines import Generation, Sampling
from llm.texts import status, worklog
from llm.texts.cache import TextCache, prompt_hash
from llm.texts.queue import Part
from llm.texts.recipes import Budget, Manner
from llm.texts.status import Share, Status
from llm.texts.worklog import Job, Note
from llm.texts.writing import Task, fill
from tests.parrot import Parrot

WS = Workspace("movielens-100k", "published")
MANNER = Manner(engine="openvino", seed=1, sampling=Sampling(), part_tokens=20, sentence=True, attempts=1)
VERB = "cot generate"
NOTE = Note(
    job="j", names="n", engine="e", part="", host="h", pid=1, begun=0, state="writing", texts=4, tokens=80, seconds=2
)


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path))
    return tmp_path


class Watched(Parrot):
    """Looks at the state after so many parts."""

    def __init__(self, after: int, look: Callable[[], None]) -> None:
        super().__init__()
        self.after, self.look = after, look

    def poll(self) -> Generation:
        made = super().poll()
        time.sleep(0.001)  # that some time has passed
        if len(self.asked) == self.after:
            self.look()
        return made


def folder() -> Path:
    return WS.cot("texts")


def write(
    engine: Parrot, monkeypatch: pytest.MonkeyPatch, limits: Budget | None = None, part: Part | None = None
) -> None:
    names = [prompt_hash(str(number)) for number in range(30)]
    tasks = {name: Task(name=name, prompt=f"{name} ", openings=("It",), manner=MANNER) for name in names}
    engine.speaks(monkeypatch)
    job, cache = Job(folder=folder(), names=names), TextCache(MANNER.cache_key("m"))
    fill(cache, tasks, limits or Budget(), manner=MANNER, model=Path(), part=part, job=job)


def noted() -> None:
    """Wait for a note that says more than the first, which is of the start."""
    deadline = time.monotonic() + 20
    while not (workers := read().workers) or workers[0].texts == 0:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def read() -> Status:
    return status.read(WS, folder(), VERB)


def test_a_queue_under_way_is_told_and_a_done_one_too(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Status] = []
    write(Watched(10, lambda: seen.append(read())), monkeypatch)
    (under_way,) = seen
    assert (under_way.asked, under_way.written, under_way.table) == (30, 9, False)
    (worker,) = under_way.workers
    assert worker.owner == f"{os.uname().nodename}:{os.getpid()}"
    held = [share for share in under_way.shares if share.owner]
    assert held
    assert {share.owner for share in held} == {worker.owner}
    assert all(share.heartbeat is not None and share.heartbeat < 30 and share.written < share.asked for share in held)
    assert sum(share.asked for share in under_way.shares) == 30
    assert sum(share.written for share in under_way.shares) == 9
    after = read()
    assert (after.written, after.workers, after.seconds_left) == (30, [], 0.0)
    assert {share.owner for share in after.shares} == {None}


def test_parts_are_told_with_those_that_nobody_has_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Status] = []
    write(Watched(3, lambda: seen.append(read())), monkeypatch, part=Part(1, 3))
    (under_way,) = seen
    assert [share.name for share in under_way.shares] == ["0/3", "1/3", "2/3"]
    assert [share.owner is not None for share in under_way.shares] == [False, True, False]
    assert [share.written for share in under_way.shares] == [0, 2, 0]
    assert [worker.part for worker in under_way.workers] == ["1/3"]
    after = read()
    assert [share.written == share.asked for share in after.shares] == [False, True, False]
    assert after.seconds_left is None, "nobody writes the others"


def test_what_a_failed_run_has_written_counts_and_nobody_works(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LlmcfError, match="the engine died"):
        write(Parrot(lives=5), monkeypatch)
    found = read()
    assert (found.written, found.workers, found.seconds_left) == (5, [], None)
    write(Parrot(), monkeypatch)
    assert read().written == 30


def test_a_worker_that_has_not_been_seen_for_a_lease_is_not_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def age() -> None:
        (path,) = TextCache(MANNER.cache_key("m")).folder.glob("work/*.json")
        os.utime(path, (time.time() - 100, time.time() - 100))
        seen.append(read())

    seen: list[Status] = []
    write(Watched(3, age), monkeypatch)
    assert seen[0].workers == []


def test_a_note_is_renewed_while_the_engine_thinks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMCF_LEASE_SECONDS", "0.6")

    write(Watched(5, noted), monkeypatch)


@pytest.mark.parametrize(
    ("workers", "shares", "left"),
    [
        ([NOTE], [], 8.0),  # 16 texts at 2 a second
        ([NOTE, NOTE], [], 4.0),
        ([], [], None),
        ([replace(NOTE, texts=0, tokens=0, seconds=0.0)], [], None),
        ([replace(NOTE, part="0/2"), replace(NOTE, part="1/2", texts=2)], [("0/2", 4), ("1/2", 12)], 12.0),
        ([replace(NOTE, part="0/2")], [("0/2", 4), ("1/2", 12)], 8.0),  # another pod's turn comes later
        ([replace(NOTE, part="0/2"), replace(NOTE, part="0/2")], [("0/2", 16)], 4.0),
    ],
)
def test_the_time_left_is_by_the_pace_of_those_at_work(
    workers: list[Note], shares: list[tuple[str, int]], left: float | None
) -> None:
    told = [Share(name=name, asked=20, written=20 - count, owner=None, heartbeat=None) for name, count in shares]
    found = Status(asked=20, written=4, shares=told, workers=workers, table=False)
    assert found.seconds_left == left
    assert found.tokens_per_second == sum(worker.rate(80) for worker in workers if worker.tokens)


def test_the_same_is_told_as_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "texts.prom"
    made: list[Result] = []
    monkeypatch.setenv("LLMCF_LEASE_SECONDS", "0.6")

    def look() -> None:
        noted()
        made.append(status.status(WS, folder(), VERB, metrics=path))

    write(Watched(10, look), monkeypatch)
    samples = {
        (sample.name, sample.labels.get("shard")): sample
        for family in text_string_to_metric_families(path.read_text(encoding="utf-8"))
        for sample in family.samples
    }
    (result,) = made
    assert samples["llmcf_texts_asked", None].value == result.details["asked"] == 30
    assert samples["llmcf_texts_written", None].value == result.details["written"] == 9
    assert samples["llmcf_texts_workers", None].value == 1
    assert samples["llmcf_texts_seconds_left", None].value > 0
    assert samples["llmcf_texts_asked", None].labels["dataset"] == "movielens-100k"
    held = [share for share in result.details["shards"] if share["owner"]]
    assert {("llmcf_texts_shard_heartbeat_seconds", share["name"]) for share in held} <= set(samples)
    assert "nobody's" in result.details["text"]
    assert "worker" in result.details["text"]
    assert [one["owner"] for one in result.details["workers"]] == [held[0]["owner"]]


@pytest.mark.parametrize("name", ["texts.txt", "nowhere/texts.prom"])
def test_a_file_that_no_collector_reads_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"is no file that ends in \.prom, in a folder that is there"):
        status.status(WS, folder(), VERB, metrics=tmp_path / name)


def test_names_that_were_removed_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    write(Parrot(), monkeypatch)
    (path,) = TextCache(MANNER.cache_key("m")).folder.glob("work/*.names")
    path.unlink()
    with pytest.raises(LlmcfError, match=r"\.names was removed"):
        read()


def test_where_nothing_was_asked_the_command_that_asks_is_told() -> None:
    with pytest.raises(Missing, match="llmcf cot generate --dataset movielens-100k --order published"):
        read()


def test_notes_are_of_one_job_and_old_ones_go(monkeypatch: pytest.MonkeyPatch) -> None:
    write(Parrot(), monkeypatch, Budget(rows=3))
    write(Parrot(), monkeypatch, Budget(rows=3))
    found = worklog.notes(worklog.place(folder()))
    assert [note.state for _, note in found] == [worklog.DONE] * 2
    assert found[0][1].begun >= found[1][1].begun
    assert worklog.notes("another/job") == []
    (cache,) = {cache for cache, _ in found}
    assert worklog.asked(cache, found[0][1]) == [prompt_hash(str(number)) for number in range(30)]
    for path in (cache / "work").iterdir():
        os.utime(path, (1, 1))
    (cache / "work" / "strange.json").write_text("{", encoding="utf-8")
    write(Parrot(), monkeypatch)
    assert len(worklog.notes(worklog.place(folder()))) == 1
    assert len(worklog.asked(cache, worklog.notes(worklog.place(folder()))[0][1])) == 30
    assert storage.read_json(cache / "key.json")["model"] == "m"
