"""What happens to a text between the model and the file: cache, cleaning, the rule against stated decisions."""

from pathlib import Path

import pytest

from llm import quality
from llm.cache import Entry, TextCache

OPENING = "A person who watched Heat (crime) will find in Alien (horror)"


def entry(name: str) -> Entry:
    return Entry(prompt_hash=name, text=f"text\nof {name} \u2028 ü", tokens=3, finish="stop")


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path))


def test_cache_keeps_texts_by_prompt_and_by_how_they_were_made() -> None:
    cache = TextCache({"model": "a", "seed": 1})
    cache.add(entry("p"))
    assert TextCache({"seed": 1, "model": "a"}).get("p") == entry("p")
    assert TextCache({"model": "a", "seed": 1}).get("q") is None
    assert TextCache({"model": "b", "seed": 1}).get("p") is None


def test_cache_survives_a_torn_line() -> None:
    cache = TextCache({"model": "a"})
    cache.add(entry("p"))
    cache.add(entry("torn"))
    cache.path.write_bytes(cache.path.read_bytes()[:-9])
    again = TextCache({"model": "a"})
    assert again.get("p") == entry("p")
    assert again.get("torn") is None
    again.add(entry("q"))
    assert TextCache({"model": "a"}).get("q") == entry("q")


def test_cache_says_what_it_holds() -> None:
    cache = TextCache({"model": "a"})
    cache.add(entry("p"))
    assert '"model": "a"' in cache.path.with_suffix(".json").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "sentence",
    [
        "Yes, it is a match.",
        "The answer is clear.",
        "The person will like it.",
        "This user would not really enjoy this film.",
        "They did not choose the film.",
        "The person liked it.",
        "She probably bought the product.",
        "The person is unlikely to watch it.",
    ],
)
def test_a_stated_decision_is_seen(sentence: str) -> None:
    assert quality.states_decision(sentence)


@pytest.mark.parametrize(
    "sentence",
    [
        "The person likes comedies from the nineties.",
        "It suits fans of quiet dramas who enjoy a slow story.",
        "A person who watched Heat (crime) will find in Alien (horror) more tension.",
        "The film brings variety after so many comedies.",
        "There is no violence in it.",
    ],
)
def test_reasoning_is_not_taken_for_a_decision(sentence: str) -> None:
    assert not quality.states_decision(sentence)


def test_finish_drops_decisions_and_the_torn_end() -> None:
    answer = " a dark story.\nThe person will like it. It adds <|im_end|> variety. And then the"
    strict = f"{OPENING} a dark story. It adds variety."
    assert quality.finish(OPENING, answer, strip_decision=True) == strict
    assert quality.finish(OPENING, answer, strip_decision=False) == (
        f"{OPENING} a dark story. The person will like it. It adds variety."
    )


@pytest.mark.parametrize(
    ("answer", "kept"),
    [
        (" what they will love. It is dark.", ". It is dark."),
        (" what they will love.", "."),
        ("", "."),
        (" a story without an end", " a story without an end"),
        (", oddly, rest.", ", oddly, rest."),
    ],
)
def test_finish_keeps_the_opening_when_its_own_sentence_goes(answer: str, kept: str) -> None:
    assert quality.finish(OPENING, answer, strip_decision=True) == OPENING + kept
