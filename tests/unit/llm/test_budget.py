"""Prompts fit their budget of tokens: the oldest history goes first, and no item's text stops a run."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import UsageError
from llm import prompts
from llm.budget import fit
from llm.contexts import Context, Item
from tests.tiny_llama import tiny_tokenizer

TOKENIZER = tiny_tokenizer()  # a token a word
WORDS = prompts.domain("amazon-beauty")
TARGET = Item(title="target", brand="maker", kind="use")
HISTORY = tuple(Item(title=f"item {number}", brand="", kind="") for number in range(20))
CONTEXT = Context(row=4, profile="24 years old", history=HISTORY, target=TARGET, label=1)


def prompt(context: Context) -> str:
    return prompts.render(prompts.task_prompt(context, WORDS), TOKENIZER)


def length(context: Context) -> int:
    return len(TOKENIZER(prompt(context))["input_ids"])


def fitted(context: Context, tokens: int) -> Context:
    return fit([context], prompt, TOKENIZER, newest=prompts.TASK_HISTORY, tokens=tokens)[0]


SHOWN = replace(CONTEXT, history=HISTORY[-prompts.TASK_HISTORY :])
FULL = length(SHOWN)


def test_what_fits_stays_as_it_is():
    assert fitted(CONTEXT, FULL) == SHOWN


def test_history_goes_from_the_oldest_one_item_at_a_time():
    two_words = FULL - 1  # an item takes two words: one too many costs one item
    assert fitted(CONTEXT, two_words).history == HISTORY[-prompts.TASK_HISTORY + 1 :]
    assert fitted(CONTEXT, FULL - 3).history == HISTORY[-prompts.TASK_HISTORY + 2 :]


def test_comments_go_before_any_history_the_oldest_first():
    commented = replace(SHOWN, history=tuple(replace(item, comment="three plain words") for item in SHOWN.history))
    whole = length(commented)
    one_less = (SHOWN.history[0], *commented.history[1:])
    assert fitted(commented, whole) == commented
    assert fitted(commented, whole - 1).history == one_less
    assert fitted(commented, FULL) == SHOWN
    assert fitted(commented, FULL - 1).history == SHOWN.history[1:]


def test_then_the_profile_then_what_is_known_of_the_target():
    bare = replace(CONTEXT, history=(), profile="")
    assert fitted(CONTEXT, length(bare)) == bare
    assert fitted(CONTEXT, length(bare) - 1) == replace(bare, target=Item(title="target", brand="", kind=""))


def test_a_monstrous_title_is_halved_until_it_fits():
    monster = replace(CONTEXT, history=(), profile="", target=Item(title="rain " * 4000, brand="", kind=""))
    small = fitted(monster, 120)
    assert small.target.title.startswith("rain rain")
    assert length(small) <= 120


def test_a_budget_below_the_instruction_is_the_callers_mistake():
    with pytest.raises(UsageError, match="12 tokens are too few for the instruction alone"):
        fitted(CONTEXT, 12)


def test_contexts_are_fitted_one_by_one():
    short = replace(CONTEXT, history=HISTORY[:1])
    both = fit([short, CONTEXT], prompt, TOKENIZER, newest=prompts.TASK_HISTORY, tokens=FULL - 1)
    assert both == [short, fitted(CONTEXT, FULL - 1)]


_texts = st.text(max_size=60)
_items = st.builds(Item, title=_texts.map(lambda text: text or "x"), brand=_texts, kind=_texts, comment=_texts)


@settings(max_examples=40, deadline=None)
@given(st.lists(_items, max_size=10), _items, st.integers(min_value=100, max_value=200))
def test_any_context_fits_and_keeps_a_tail_of_its_history(history, target, tokens):
    context = Context(row=0, profile="p", history=tuple(history), target=target, label=0)
    result = fitted(context, tokens)
    assert length(result) <= tokens
    kept = len(result.history)
    left = context.history[len(history) - kept :]
    assert [replace(item, comment="") for item in result.history] == [replace(item, comment="") for item in left]
    silent = [not item.comment for item in result.history]
    assert all(silent) or kept == min(len(history), prompts.TASK_HISTORY)
