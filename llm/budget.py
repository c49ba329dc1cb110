"""Prompts of a bounded length: what does not fit is left out, comments first, then the oldest history."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from core.errors import UsageError
from llm.contexts import Context, Item

_SHORTEST_TITLE = 8  # characters; below that a title says nothing


def fit(
    contexts: Sequence[Context], prompt: Callable[[Context], str], tokenizer: Any, *, newest: int, tokens: int
) -> list[Context]:
    """The contexts, each cut until its prompt has at most `tokens` tokens.

    A context loses its comments from the oldest on, then its history likewise, then its profile, then the target's
    brand and kind, and at last half of the target's title at a time: no text, however long, stops a run.

    Args:
        newest: history items that the prompt shows at most.
        tokenizer: a Hugging Face tokenizer of the model that will read the prompts.

    Raises:
        UsageError: if `tokens` is not even enough for the instruction.
    """
    fitted = [replace(context, history=context.history[-newest:]) for context in contexts]
    too_long = list(range(len(fitted)))
    while too_long:
        ids = tokenizer([prompt(fitted[place]) for place in too_long], add_special_tokens=False)["input_ids"]
        too_long = [place for place, its in zip(too_long, ids, strict=True) if len(its) > tokens]
        for place in too_long:
            fitted[place] = _shorter(fitted[place], tokens)
    return fitted


def _shorter(context: Context, tokens: int) -> Context:
    target, commented = context.target, [place for place, item in enumerate(context.history) if item.comment]
    if commented:
        return replace(context, history=_silent(context.history, commented[0]))
    if context.history:
        return replace(context, history=context.history[1:])
    if context.profile:
        return replace(context, profile="")
    if target.brand or target.kind:
        return replace(context, target=Item(title=target.title, brand="", kind=""))
    if len(target.title) > _SHORTEST_TITLE:
        return replace(context, target=replace(target, title=target.title[: len(target.title) // 2].rstrip()))
    raise UsageError(f"{tokens} tokens are too few for the instruction alone; allow a prompt more")


def _silent(history: tuple[Item, ...], place: int) -> tuple[Item, ...]:
    return (*history[:place], replace(history[place], comment=""), *history[place + 1 :])
