"""Prompts say what they must, hide what they must, and hold strangers' texts as data. Their wording is golden:
after a wanted change raise `wording.VERSION` and run `python -m tests.unit.llm.test_prompts`."""

import json
from dataclasses import replace

import pytest

from core import settings
from core.errors import LlmcfError
from llm import prompts
from llm.contexts import Context, Item
from llm.cot import wording
from llm.cot.recipes import STYLES
from llm.kar import wording as kar_wording
from llm.texts.wording import TextPrompt
from tests.hostile import HOSTILE
from tests.tiny_llama import tiny_tokenizer

GOLDEN = settings.PROJECT / "tests" / "golden" / "prompts.json"
ALIEN = Item(title="Alien", brand="1979", kind="Horror, Sci-Fi")
SOAP = Item(title="Lavender Soap", brand="", kind="Bath")
CONTEXT = Context(row=6, profile="24 years old, technician", history=(SOAP, ALIEN, ALIEN), target=ALIEN, label=1)
WORN = replace(SOAP, comment="Smells of summer. I'd buy it again")
COMMENTED = replace(CONTEXT, history=(SOAP, WORN), target=SOAP)
FIRST = Context(row=0, profile="", history=(), target=SOAP, label=0)


def everything() -> dict[str, object]:
    out: dict[str, object] = {"version": wording.VERSION, "version of kar": kar_wording.VERSION}
    for name, context, dataset in (("film", CONTEXT, "movielens-100k"), ("first", FIRST, "amazon-beauty")):
        words = prompts.domain(dataset)
        out[f"{name}: task"] = prompts.task_prompt(context, words)
        for kind, put in kar_wording.KINDS.items():
            if context.history or kind == "item":  # users without a history are not asked about
                asked = put(context, words)
                out[f"{name}: kar, {kind}"] = [*asked.messages, *asked.openings]
        for style in STYLES:
            for stated in (False, True):
                asked = wording.cot_prompt(context, words, style=style, state_label=stated)
                out[f"{name}: {style}, label {'stated' if stated else 'hidden'}"] = [*asked.messages, *asked.openings]
    for style in STYLES:
        asked = cot(COMMENTED, style=style, dataset="amazon-beauty")
        out[f"commented: {style}, label hidden"] = [*asked.messages, *asked.openings]
    return out


def cot(
    context: Context, *, style: str = "guided", state_label: bool = False, dataset: str = "movielens-100k"
) -> TextPrompt:
    return wording.cot_prompt(context, prompts.domain(dataset), style=style, state_label=state_label)


def test_the_wording_is_what_it_was() -> None:
    assert everything() == json.loads(GOLDEN.read_text(encoding="utf-8"))


def test_without_stating_it_the_prompt_does_not_depend_on_the_label() -> None:
    other = Context(row=6, profile=CONTEXT.profile, history=CONTEXT.history, target=ALIEN, label=0)
    for style in STYLES:
        for state_label, same in ((False, True), (True, False)):
            both = [cot(context, style=style, state_label=state_label) for context in (CONTEXT, other)]
            assert (both[0] == both[1]) is same


def test_a_comment_is_quoted_behind_its_item_and_nowhere_else() -> None:
    """Not in the openings, which the text begins with, and the target's not at all."""
    plain = replace(COMMENTED, history=(SOAP, SOAP))
    for style in STYLES:
        asked, bare = (cot(one, style=style) for one in (replace(COMMENTED, target=WORN), plain))
        assert asked.openings == bare.openings
        assert asked.messages[0] == bare.messages[0]
        told = f' (comment: "{WORN.comment}")'
        assert asked.messages[1]["content"].count(told) == 1
        assert asked.messages[1]["content"].replace(told, "") == bare.messages[1]["content"]


def test_what_all_rows_share_comes_first() -> None:
    asked = [cot(context).messages for context in (CONTEXT, FIRST)]
    assert asked[0][0] == asked[1][0]
    shared = [m[1]["content"].split("\n")[0] for m in asked]
    assert shared[0] == shared[1]
    assert len(shared[0]) > 100


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("style", STYLES)
def test_a_text_cannot_leave_its_quotation_or_speak_as_the_template(
    hostile: dict[str, Context], text: str, style: str
) -> None:
    """Whatever a title says, the conversation keeps its messages, lines and quotations, and no marker of a template."""
    context = hostile[text]
    assert context.history[0].comment
    plain = Context(row=0, profile="p", history=(WORN,), target=SOAP, label=0)
    asked, expected = (cot(one, style=style, dataset="amazon-beauty") for one in (context, plain))
    task, plain_task = (prompts.task_prompt(one, prompts.domain("amazon-beauty")) for one in (context, plain))
    assert len(asked.openings) == len(expected.openings)
    for ours, theirs in zip([*asked.messages, *task], [*expected.messages, *plain_task], strict=True):
        assert ours["role"] == theirs["role"]
        assert ours["content"].count("\n") == theirs["content"].count("\n")
        assert ours["content"].count('"') == theirs["content"].count('"')
        assert len(ours["content"]) < 1200
    for put in [*asked.openings, *(m["content"] for m in [*asked.messages, *task])]:
        assert not any(marker in put for marker in ("<", ">", "[INST]", "\u0000", "\u202e"))


def test_rendering_ends_where_the_answer_goes_on() -> None:
    tokenizer = tiny_tokenizer()
    assert prompts.render([{"role": "user", "content": "is rain wet"}], tokenizer, "Rain is") == (
        "[user] is rain wet [end] [assistant] Rain is"
    )
    tokenizer.chat_template = None
    with pytest.raises(LlmcfError, match="no chat template"):
        prompts.render([{"role": "user", "content": "?"}], tokenizer)


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(everything(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
