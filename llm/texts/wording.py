"""What every text is asked for with: a conversation, and the words that each part of the answer begins with."""

from dataclasses import dataclass

from llm.contexts import Context, Item
from llm.prompts import Message

NAMED = 2  # history items that an opening names
_SHORT = 40  # characters of a title in an opening


@dataclass(frozen=True, slots=True, kw_only=True)
class TextPrompt:
    """A conversation, and the words that each part of the answer is made to begin with; they belong to the text."""

    messages: list[Message]
    openings: tuple[str, ...]


def short(item: Item) -> str:
    """The head of a title: up to its first comma or bracket, cut between words."""
    head = item.title
    for mark in (",", " (", " - ", ";"):
        head = head.partition(mark)[0] or head
    return head if len(head) <= _SHORT else head[: _SHORT + 1].rpartition(" ")[0] or head[:_SHORT]


def quoted(context: Context) -> set[str]:
    """What a text about this row may quote of the data: titles, whole and short, brands and kinds."""
    items = (*context.history, context.target)
    return {words for one in items for words in (one.title, short(one), one.brand, one.kind, one.kind.lower()) if words}
