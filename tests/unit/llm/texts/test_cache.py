"""The cache keeps every finished text, and the queue gives no prompt to two workers."""

from pathlib import Path

import pytest

from llm.texts.cache import SHARDS, Entry, TextCache, WorkQueue, prompt_hash, shard_of

KEY = {"model": "a", "seed": 1}


def entry(name: str) -> Entry:
    return Entry(prompt_hash=name, parts=(f"text\nof {name} \u2028 ü",), tokens=3, finish=("stop",))


def names(count: int) -> list[str]:
    return [prompt_hash(str(number)) for number in range(count)]


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path))


def test_a_text_is_named_by_all_that_was_asked() -> None:
    assert len({prompt_hash("p"), prompt_hash("p", ("a",)), prompt_hash("p", ("a",), 1), prompt_hash("pa")}) == 4


def test_texts_are_kept_by_prompt_and_by_how_they_were_made() -> None:
    one, two = names(2)
    TextCache(KEY).add(entry(one))
    assert TextCache({"seed": 1, "model": "a"}).get(one) == entry(one)
    assert TextCache(KEY).get(two) is None
    assert TextCache(KEY | {"model": "b"}).get(one) is None
    assert '"model": "a"' in (TextCache(KEY).folder / "key.json").read_text(encoding="utf-8")


def test_a_torn_line_is_skipped_and_written_past() -> None:
    one, torn, two = [name for name in names(1000) if shard_of(name) == shard_of(names(1)[0])][:3]
    cache = TextCache(KEY)
    cache.add(entry(one))
    cache.add(entry(torn))
    path = cache.path(shard_of(one))
    path.write_bytes(path.read_bytes()[:-9])
    again = TextCache(KEY)
    assert again.get(one) == entry(one)
    assert again.get(torn) is None
    again.add(entry(two))
    assert TextCache(KEY).get(two) == entry(two)


def test_two_workers_share_the_queue_and_no_prompt() -> None:
    wanted = names(300)
    first, second = (WorkQueue(TextCache(KEY), wanted, start=start) for start in (0, SHARDS // 2))
    taken: list[list[str]] = [[], []]
    while any(claimed := [queue.claim() for queue in (first, second)]):
        for mine, got in zip(taken, claimed, strict=True):
            mine += got or []
    assert sorted(taken[0] + taken[1]) == sorted(wanted)
    assert all(taken)
    assert first.others
    assert second.others


def test_what_a_dead_worker_held_goes_to_the_next_one() -> None:
    wanted = names(40)
    dead, heir = WorkQueue(TextCache(KEY), wanted), WorkQueue(TextCache(KEY), wanted)
    while dead.claim():
        pass
    assert heir.claim() is None
    assert heir.others
    dead.close()  # as the system does for a process that is killed
    found = []
    while names_of_shard := heir.claim():
        found += names_of_shard
    assert sorted(found) == sorted(wanted)
    assert not heir.others


def test_what_another_worker_finished_is_not_handed_out_again() -> None:
    wanted = names(30)
    first, late = TextCache(KEY), TextCache(KEY)
    queue = WorkQueue(first, wanted)
    while claimed := queue.claim():
        for name in claimed:
            first.add(entry(name))
            queue.done(name)
    other = WorkQueue(late, wanted)
    assert other.claim() is None
    assert not other.others
    assert all(late.get(name) for name in wanted)
