"""What becomes of a generated text before it is kept (METHOD 5)."""

import re

from core.data import texts

TEXT_LIMIT = 2000

_SENTENCE = re.compile(r"(?<=[.!?])\s+")
_WHO = r"(?:the|this) (?:person|user|viewer|customer|reader)|he|she|they"
_VERB = r"(?:like|enjoy|love|choose|pick|watch|buy|take|purchase|click|accept|appreciate|reject|dislike|hate|skip)"
_PAST = r"(?:liked|enjoyed|loved|chose|picked|watched|bought|took|purchased|clicked|accepted|rejected|disliked|skipped)"
_ITEM = r"(?:it\b|this\b|the (?:new )?(?:film|movie|product|item)\b)"
_DECISION = re.compile(
    rf"\b(?:yes|no)\s*[,.!:]|\bthe answer\b|\blabel\b"
    rf"|\b(?:{_WHO})\s+(?:will|would|won't|wouldn't|did|didn't|does|doesn't|do|don't|is likely to|is unlikely to)"
    rf"\s+(?:\w+\s+){{0,2}}?{_VERB}\b"
    rf"|\b(?:{_WHO})\s+(?:\w+ly\s+)?{_PAST}\s+{_ITEM}",
    re.IGNORECASE,
)


def finish(opening: str, answer: str, *, strip_decision: bool) -> str:
    """The text to keep: the opening and what the model went on to write, cleaned, without a torn last sentence.

    Args:
        strip_decision: drop the sentences that say whether the person chose the item; if that leaves nothing, the
            opening alone remains.
    """
    start, sentences = texts.clean(opening, TEXT_LIMIT), split_sentences(_whole(answer))
    kept = [s for s in sentences if not (strip_decision and states_decision(s))]
    if not kept or kept[0] != sentences[0]:
        return " ".join([f"{start}.", *kept])
    glue = "" if kept[0][0] in ",.;:!?)'" else " "
    return glue.join([start, " ".join(kept)])


def states_decision(sentence: str) -> bool:
    return bool(_DECISION.search(sentence))


def split_sentences(text: str) -> list[str]:
    return [sentence for sentence in _SENTENCE.split(text) if sentence]


def _whole(answer: str) -> str:
    """`answer` on one clean line up to its last full sentence, or all of it if there is none."""
    line = texts.clean(answer, TEXT_LIMIT)
    ends = [match.end() for match in re.finditer(r"[.!?]['\")]*(?=\s|$)", line)]
    return line[: ends[-1]] if ends else line
