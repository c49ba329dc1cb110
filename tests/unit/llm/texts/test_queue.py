"""The queue gives no prompt to two workers; parts are disjoint and complete, and ask nobody."""

import time
from pathlib import Path

import pytest

from core.errors import UsageError
from llm.texts.cache import Entry, TextCache, prompt_hash
from llm.texts.queue import SHARDS, OwnPart, Part, SharedQueue, part, shard_of

KEY = {"model": "a", "seed": 1}
LEASE_S = 0.6


def entry(name: str) -> Entry:
    return Entry(prompt_hash=name, parts=(f"text of {name}",), tokens=3, finish=("stop",))


def names(count: int) -> list[str]:
    return [prompt_hash(str(number)) for number in range(count)]


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path))
    for variable in ("LLMCF_SHARD", "LLMCF_SHARDS", "JOB_COMPLETION_INDEX", "SLURM_ARRAY_TASK_ID"):
        monkeypatch.delenv(variable, raising=False)


def test_two_workers_share_the_queue_and_no_prompt() -> None:
    wanted = names(300)
    first, second = (SharedQueue(TextCache(KEY), wanted, start=start) for start in (0, SHARDS // 2))
    taken: list[list[str]] = [[], []]
    while any(claimed := [queue.claim() for queue in (first, second)]):
        for mine, got in zip(taken, claimed, strict=True):
            mine += got or []
    assert sorted(taken[0] + taken[1]) == sorted(wanted)
    assert all(taken)
    assert first.others
    assert second.others


def test_what_a_worker_lets_go_of_goes_to_the_next_one() -> None:
    wanted = names(40)
    dead, heir = SharedQueue(TextCache(KEY), wanted), SharedQueue(TextCache(KEY), wanted)
    while dead.claim():
        pass
    assert heir.claim() is None
    assert heir.others
    dead.close()
    found = []
    while names_of_shard := heir.claim():
        found += names_of_shard
    assert sorted(found) == sorted(wanted)
    assert not heir.others


def test_what_another_worker_finished_is_not_handed_out_again() -> None:
    wanted = names(30)
    first, late = TextCache(KEY), TextCache(KEY)
    queue = SharedQueue(first, wanted)
    while claimed := queue.claim():
        for name in claimed:
            first.add(entry(name))
            queue.done(name)
    other = SharedQueue(late, wanted)
    assert other.claim() is None
    assert not other.others
    assert all(late.get(name) for name in wanted)


def test_a_lease_that_was_lost_is_noticed_before_anything_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMCF_LEASE_SECONDS", str(LEASE_S))
    (name,) = names(1)
    sleeper, heir = (SharedQueue(TextCache(KEY), [name]) for _ in range(2))
    assert sleeper.claim() == [name]
    assert sleeper.mine(name)
    sleeper._leases[shard_of(name)]._lock._hold.heartbeat_stop.set()  # pyright: ignore -- as in a process that is stopped
    start = time.monotonic()
    while not (claimed := heir.claim()):
        assert time.monotonic() - start < 20 * LEASE_S
        time.sleep(LEASE_S / 10)
    assert claimed == [name]
    assert time.monotonic() - start >= LEASE_S / 2
    assert not sleeper.mine(name)
    assert sleeper.others
    assert heir.mine(name)
    heir.done(name)
    assert not heir.mine(name), "a text is written once"
    heir.close()


@pytest.mark.parametrize("count", [1, 2, 3, 7, 64, 100, 1000])
def test_parts_are_disjoint_and_complete(count: int) -> None:
    wanted = names(300)
    queues = [OwnPart(wanted, Part(index, count)) for index in range(count)]
    claimed = [queue.claim() or [] for queue in queues]
    assert sorted(name for one in claimed for name in one) == sorted(wanted)
    assert len(claimed[0]) < 300 or count == 1
    assert not any(queue.claim() or queue.others for queue in queues)
    if count == 2:
        assert 100 < len(claimed[0]) < 200


def test_a_part_makes_no_file_at_all(tmp_path: Path) -> None:
    queue = OwnPart(names(9), Part(0, 1))
    for name in queue.claim() or ():
        assert queue.mine(name)
        queue.done(name)
        assert not queue.mine(name)
    queue.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("option", "variables", "expected"),
    [
        ("2/5", {"LLMCF_SHARD": "1/4"}, "2/5"),
        (None, {"LLMCF_SHARD": "1/4", "JOB_COMPLETION_INDEX": "3", "LLMCF_SHARDS": "8"}, "1/4"),
        (None, {"JOB_COMPLETION_INDEX": "3", "LLMCF_SHARDS": "8", "SLURM_ARRAY_TASK_ID": "1"}, "3/8"),
        (None, {"SLURM_ARRAY_TASK_ID": "0", "SLURM_ARRAY_TASK_COUNT": "4"}, "0/4"),
        (
            None,
            {
                "SLURM_ARRAY_TASK_ID": "14",
                "SLURM_ARRAY_TASK_COUNT": "3",
                "SLURM_ARRAY_TASK_MIN": "10",
                "SLURM_ARRAY_TASK_STEP": "2",
            },
            "2/3",
        ),
        (None, {}, None),
        (None, {"LLMCF_SHARD": "  "}, None),
        (None, {"LLMCF_SHARD": "off", "SLURM_ARRAY_TASK_ID": "1"}, None),
        ("off", {"LLMCF_SHARD": "1/4"}, None),
        ("off", {"JOB_COMPLETION_INDEX": "3"}, None),
        (None, {"LLMCF_SHARD": "-1/4"}, None),  # an Airflow task that is not mapped
    ],
)
def test_the_part_is_the_options_then_the_schedulers(
    option: str | None, variables: dict[str, str], expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    found = part(option)
    assert (str(found) if found else None) == expected


@pytest.mark.parametrize(
    ("option", "variables", "said"),
    [
        ("4/4", {}, "--shard '4/4' is no part i/N with i from 0 to N-1"),
        ("-2/4", {}, "--shard '-2/4' is no part"),
        ("0/0", {}, "--shard '0/0' is no part"),
        ("half", {}, "--shard 'half' is no part"),
        ("1/4; ls", {}, "--shard '1/4; ls' is no part"),
        (None, {"LLMCF_SHARD": "9/4"}, "LLMCF_SHARD '9/4' is no part"),
        (None, {"JOB_COMPLETION_INDEX": "3"}, "JOB_COMPLETION_INDEX '3' does not say of how many: set LLMCF_SHARDS"),
        (None, {"JOB_COMPLETION_INDEX": "8", "LLMCF_SHARDS": "8"}, "JOB_COMPLETION_INDEX '8/8' is no part"),
        (None, {"SLURM_ARRAY_TASK_ID": "3"}, "SLURM_ARRAY_TASK_ID '3' does not say of how many"),
        (None, {"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_COUNT": "3"}, "SLURM_ARRAY_TASK_ID '7/3' is no part"),
        (
            None,
            {"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "3", "SLURM_ARRAY_TASK_STEP": "2"},
            "SLURM_ARRAY_TASK_ID '3' is no place in an array from 0 in steps of 2",
        ),
    ],
)
def test_what_is_no_part_is_refused_with_who_said_it(
    option: str | None, variables: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError) as caught:
        part(option)
    assert str(caught.value).startswith(said)
