"""The cache keeps every finished text, each writer in a file of its own."""

import time
from dataclasses import replace
from pathlib import Path

import pytest

from llm.texts.cache import Entry, TextCache, prompt_hash

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
    one, torn, two = names(3)
    cache = TextCache(KEY)
    cache.add(entry(one))
    cache.add(entry(torn))
    path = cache.file()
    path.write_bytes(path.read_bytes()[:-9])
    again = TextCache(KEY)
    assert again.get(one) == entry(one)
    assert again.get(torn) is None
    cache.add(entry(two))
    assert TextCache(KEY).get(two) == entry(two)


def test_what_is_on_its_way_is_read_when_it_has_come() -> None:
    one, two = names(2)
    writer = TextCache(KEY)
    writer.add(entry(one))
    writer.add(entry(two))
    whole = writer.file().read_bytes()
    writer.file().write_bytes(whole[:-9])
    reader = TextCache(KEY)
    assert (reader.get(one), reader.get(two)) == (entry(one), None)
    writer.file().write_bytes(whole)
    reader.refresh()
    assert reader.get(two) == entry(two)


def test_texts_of_older_versions_are_read() -> None:
    (one,) = names(1)
    folder = TextCache(KEY).folder
    folder.mkdir(parents=True)
    (folder / "007.jsonl").write_text(f'\n["{one}", ["said"], 3, ["stop"]]\n', encoding="utf-8")
    found = TextCache(KEY).get(one)
    assert found
    assert found.parts == ("said",)


def test_two_that_write_one_text_agree_on_the_newer_writers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that slept wakes up and writes: what its heir wrote stays for everybody, in whatever order they look."""
    (name,) = names(1)
    clock = iter(range(1, 9))
    monkeypatch.setattr(time, "time_ns", lambda: next(clock) * 1_000_000_000)
    sleeper, heir = TextCache(KEY), TextCache(KEY)
    assert sleeper.file() != heir.file()
    heir.add(replace(entry(name), parts=("the heir's",)))
    early = TextCache(KEY)
    sleeper.refresh()
    sleeper.add(replace(entry(name), parts=("the sleeper's",)))
    late = TextCache(KEY)
    for cache in (sleeper, early, late):
        found = cache.get(name)
        assert found
        assert found.parts == ("the heir's",)
        cache.refresh()
        assert cache.get(name) == found
