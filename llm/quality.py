"""What becomes of a generated text before it is kept (METHOD 5)."""

import re

from core.data import texts

TEXT_LIMIT = 2000

_SENTENCE = re.compile(r"(?<=[.!?])\s+")
_WHO = r"(?:the|this) (?:person|user|viewer|customer|reader)|he|she|they"
_VERB = r"(?:like|enjoy|love|choose|pick|watch|buy|take|purchase|click|accept|reject|dislike|hate|skip)"
_PAST = r"(?:liked|enjoyed|loved|chose|picked|watched|bought|took|purchased|clicked|accepted|rejected|disliked|skipped)"
_ITEM = r"(?:it\b|this\b|the (?:new )?(?:film|movie|product|item)\b)"
_DECISION = re.compile(
    rf"\b(?:yes|no)\s*[,.!:]|\bthe answer\b|\blabel\b"
    rf"|\b(?:{_WHO})\s+(?:will|would|won't|wouldn't|did|didn't|does|doesn't|do|don't|is likely to|is unlikely to)"
    rf"\s+(?:\w+\s+){{0,2}}?{_VERB}\b"
    rf"|\b(?:{_WHO})\s+(?:\w+ly\s+)?{_PAST}\s+{_ITEM}",
    re.IGNORECASE,
)


def tidy(text: str) -> str:
    """`text` as one clean line without the sentence that the length cap cut off, if something is left before it."""
    whole = texts.clean(text, TEXT_LIMIT)
    ends = [match.end() for match in re.finditer(r"[.!?]['\")]*(?=\s|$)", whole)]
    return whole[: ends[-1]] if ends else whole


def without_decision(text: str) -> str:
    """`text` without the sentences that say whether the person chose the item; possibly empty."""
    return " ".join(sentence for sentence in _SENTENCE.split(text) if not _DECISION.search(sentence))
