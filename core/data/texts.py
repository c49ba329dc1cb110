"""Item and user texts. What comes from a data set is untrusted: it must not be able to speak to a language model."""

import html
import re
import unicodedata
from collections.abc import Sequence

TITLE_LIMIT = 160
LABEL_LIMIT = 60  # a brand, a category
TEXT_LIMIT = 400
COMMENT_LIMIT = 160  # what somebody wrote about an item

_MARKER = re.compile(r"<[^<>]{0,64}>|\[/?[A-Z_]{2,24}\]")  # <|im_start|>, </s>, <b>, [INST]
_READ_FACTOR = 8  # how much of a monstrous text is looked at, in limits


def clean(text: str | None, limit: int) -> str:
    """`text` as one line of at most `limit` characters that holds no control character and no markup.

    HTML entities are decoded; chat-template tokens, tags and every leftover angle bracket are dropped. Cleaning twice
    changes nothing.
    """
    text = (text or "")[: limit * _READ_FACTOR]
    while (next_text := _clean_once(text)) != text:  # what one pass uncovers, the next removes
        text = next_text
    cut = text[:limit].rstrip()
    return cut if cut == text else clean(cut, limit)


def _clean_once(text: str) -> str:
    text = unicodedata.normalize("NFKC", html.unescape(text))
    if not text.isprintable():  # as few are; a look at every letter is slow
        text = "".join(" " if unicodedata.category(letter)[0] == "C" else letter for letter in text)
    text = _MARKER.sub(" ", text).replace("<", " ").replace(">", " ")
    return " ".join(text.split())


def cut(text: str, limit: int) -> str:
    """At most `limit` characters of a clean text, cut between words."""
    if len(text) <= limit:
        return text
    words, _, rest = text[: limit + 1].rpartition(" ")
    return (words or rest[:limit]).rstrip(" ,;:-(&/")


def comment(heading: str | None, text: str | None) -> str:
    """What somebody wrote about an item, cleaned, as one text of at most COMMENT_LIMIT characters; empty for nothing.

    Args:
        heading: comes first, and ends like a sentence.
    """
    head, body = (clean(part, COMMENT_LIMIT + 1) for part in (heading, text))
    if head and body and head[-1] not in ".!?":
        head += "."
    return clean(cut(f"{head} {body}".strip(), COMMENT_LIMIT), COMMENT_LIMIT)


def item_text(title: str, brand: str, categories: Sequence[str]) -> str:
    """Cleaned parts as one text: "Toy Story (1995). Animation, Comedy"; "unknown item" if there is nothing to say."""
    name = f"{title} ({brand})" if title and brand else title or brand
    return clean(". ".join(part for part in (name, ", ".join(categories)) if part), TEXT_LIMIT) or "unknown item"


def name(title: str, raw_id: str) -> str:
    """An item as it is printed: by its title, or by its id where there is none, which may hold anything."""
    return title or clean(raw_id, TITLE_LIMIT)


def user_profile(age: int | None, gender: str | None, occupation: str | None) -> str:
    """A fragment for prompts, "24 years old, male, technician"; empty where nothing is known."""
    years = f"{age} years old" if age is not None else ""
    sex = {"M": "male", "F": "female"}.get(gender or "", "")
    work = {"other": "", "none": "without occupation"}.get(occupation or "", clean(occupation, LABEL_LIMIT))
    return ", ".join(part for part in (years, sex, work) if part)
