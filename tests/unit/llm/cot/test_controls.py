"""Texts taken apart, and put at wrong rows."""

import pytest

from llm.cot.controls import exchanged, facts, words

OPENINGS = ("The person, who bought A, cares about", "B, of soap, is for", "For variety, it adds")
TEXT = "The person, who bought A, cares about skin. B, of soap, is for washing, often. For variety, it adds: colour."


def test_a_text_falls_into_facts_and_words() -> None:
    assert facts(TEXT, OPENINGS) == "The person, who bought A, cares about. B, of soap, is for. For variety, it adds."
    assert words(TEXT, OPENINGS) == "skin. washing, often. colour."


def test_what_the_model_repeats_is_its_own() -> None:
    said = "The person, who bought A, cares about B, of soap, is for them. B, of soap, is for. For variety, it adds x."
    assert words(said, OPENINGS) == "them. B, of soap, is for. x."


def test_a_part_without_words_leaves_nothing() -> None:
    assert words("The person, who bought A, cares about. B, of soap, is for. For variety, it adds.", OPENINGS) == ""
    with pytest.raises(ValueError, match="substring"):
        words("Something else", OPENINGS)


@pytest.mark.parametrize("count", [2, 3, 50])
def test_no_text_stays_where_it_was(count: int) -> None:
    texts = [f"text {number}" for number in range(count)]
    moved = exchanged(texts, seed=1)
    assert sorted(moved) == sorted(texts)
    assert all(a != b for a, b in zip(texts, moved, strict=True))
    assert exchanged(texts, seed=1) == moved
