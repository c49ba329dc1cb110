"""One worker of the queue: parts follow each other, faulty texts are asked for again, a budget ends it."""

from pathlib import Path

import pytest

from llm.engines import Sampling
from llm.texts.cache import TextCache, prompt_hash
from llm.texts.recipes import Budget, Manner
from llm.texts.writing import Task, fill
from tests.parrot import Parrot

MANNER = Manner(engine="openvino", seed=1, sampling=Sampling(), part_tokens=20, sentence=True, attempts=3)
OPENINGS = ("The person cares about", "For variety, it adds")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TextCache:
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path))
    return TextCache(MANNER.cache_key("m"))


def tasks(count: int) -> dict[str, Task]:
    names = [prompt_hash(str(number)) for number in range(count)]
    return {name: Task(name=name, prompt=f"{name} ", openings=OPENINGS, manner=MANNER) for name in names}


def test_the_next_part_knows_the_last_and_a_request_says_how_to_write(
    cache: TextCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    parrot, asked = Parrot(), tasks(1)
    parrot.speaks(monkeypatch)
    account = fill(cache, asked, Budget(), manner=MANNER, model=Path())
    first, second = parrot.asked
    (name,) = asked
    entry = cache.get(name)
    assert entry
    assert first.prompt == f"{name} The person cares about"
    assert second.prompt == f"{first.prompt} {entry.parts[0]} For variety, it adds"
    assert (first.max_new_tokens, first.min_new_tokens, ". " in first.stop) == (20, 4, True)
    assert first.seed != second.seed
    assert (account.texts, account.tokens, account.again) == (1, 6, 0)


def test_a_faulty_text_is_kept_at_last_with_what_it_cost(cache: TextCache, monkeypatch: pytest.MonkeyPatch) -> None:
    parrot, asked = Parrot(say=" the the the the the the the. "), tasks(2)
    parrot.speaks(monkeypatch)
    account = fill(cache, asked, Budget(), manner=MANNER, model=Path())
    assert (account.texts, account.again, len(parrot.asked)) == (2, 4, 12)
    assert [entry.tokens for name in asked if (entry := cache.get(name))] == [18, 18]


def test_a_budget_of_texts_begins_no_more(cache: TextCache, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = tasks(20)
    Parrot().speaks(monkeypatch)
    assert fill(cache, asked, Budget(rows=7), manner=MANNER, model=Path()).texts == 7
    assert sum(cache.get(name) is not None for name in asked) == 7
    assert fill(cache, asked, Budget(), manner=MANNER, model=Path()).texts == 13
    assert fill(cache, asked, Budget(), manner=MANNER, model=Path()).texts == 0
