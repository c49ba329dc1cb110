"""What becomes of a generated text before it is kept (METHOD 5), and what its words alone say against it."""

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise

from core.data import texts

TEXT_LIMIT = 2000
FLAGS = {
    "empty": "the model added next to nothing",
    "repetition": "it says the same words again and again",
    "language": "it is not English prose",
    "refusal": "the model declines or speaks of itself",
    "truncated": "half of its parts or more have no end",
    "decision": "it says how it ended; such sentences are dropped under the leak rule",
}
FAULTY = ("empty", "repetition", "language", "refusal")  # such a text is asked for again, and dropped at last

_SENTENCE = re.compile(r"(?<=[.!?])(?<!\b[Nn][Oo]\.)\s+|(?<=\b[Nn][Oo]\.)\s+(?!\d)")  # "No. 5" is a name
_WHO = r"(?:the|this) (?:person|user|viewer|customer|reader)|he|she|they"
_VERB = r"(?:like|enjoy|love|choose|pick|watch|buy|take|purchase|click|accept|appreciate|reject|dislike|hate|skip)"
_PAST = r"(?:liked|enjoyed|loved|chose|picked|watched|bought|took|purchased|clicked|accepted|rejected|disliked|skipped)"
_ITEM = r"(?:it\b|this\b|the (?:new )?(?:film|movie|product|item)\b)"
_NO_NAME = r"(?:^|[^\w\s]\s*|\b[a-z]\w*\s+)"  # before a capital: after another capital it is part of a name
_DECISION = re.compile(
    rf"\byes\s*[,.!:]|(?-i:\bno|{_NO_NAME}(?:No|NO))\s*[,.!:](?!\s*\d)"  # no "no. 5", no "File Model No."
    rf"|\bthe answer\b|(?-i:\blabel\b|{_NO_NAME}(?:Label|LABEL)\b)"  # no "Black Label Lipstick"
    rf"|\b(?:{_WHO})\s+(?:will|would|won't|wouldn't|did|didn't|does|doesn't|do|don't|is likely to|is unlikely to)"
    rf"\s+(?:\w+\s+){{0,2}}?{_VERB}\b"
    rf"|\b(?:{_WHO})\s+(?:\w+ly\s+)?{_PAST}\s+{_ITEM}",
    re.IGNORECASE,
)
_REFUSAL = re.compile(
    r"\bas an ai\b|\blanguage model\b|\bi(?:'m| am) (?:sorry|unable|not able)\b|\bi (?:cannot|can't|can not)\b",
    re.IGNORECASE,
)
_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?")
_MOST_COMMON = """a an and are as at be been but by can for from has have how in is it its may more most not of on or so
such than that the their them these they this those to was well what which who will with you your"""
_COMMON = frozenset(_MOST_COMMON.split())
_FEWEST_WORDS = 6
_FEWEST_COMMON = 0.15  # of the words; English prose has .3 and more
_FEWEST_DISTINCT = 0.6  # of the word pairs


def part(raw: str, finish: str, *, sentence: bool) -> str:
    """One part of an answer on one clean line; a part that was cut ends with its last whole word.

    Args:
        sentence: keep the first sentence only.
    """
    line = texts.clean(raw, TEXT_LIMIT)
    if sentence:
        line = split_sentences(line)[0] if line else ""
    if finish == "length" and not _ends(line):
        line = line.rpartition(" ")[0] if sentence else _whole(line)
    return line if not line or _ends(line) else line.rstrip(" ,;:-(") + "."


def joined(openings: Sequence[str], parts: Sequence[str]) -> str:
    """The answer so far: each opening with its part; an opening without a part is left open."""
    done = [_glued(texts.clean(opening, TEXT_LIMIT), part) for opening, part in zip(openings, parts, strict=False)]
    return " ".join([*done, *openings[len(parts) : len(parts) + 1]])


def finish(openings: Sequence[str], parts: Sequence[str], *, strip_decision: bool) -> str:
    """The text to keep.

    Args:
        strip_decision: drop the sentences that say whether the person chose the item; what an opening says remains.
    """
    kept = []
    for opening, said in zip(openings, parts, strict=True):
        start = texts.clean(opening, TEXT_LIMIT)
        sentences = split_sentences(said)
        if strip_decision:
            sentences = [one for one in sentences if not _decides(start, one)]
        first = bool(sentences) and said.startswith(sentences[0])
        kept.append(_glued(start, " ".join(sentences)) if first or not start else " ".join([f"{start}.", *sentences]))
    return " ".join(text for text in kept if text)


def flags(openings: Sequence[str], parts: Sequence[str], finish: Sequence[str]) -> list[str]:
    """Which of FLAGS hold. Openings are ours and no merit of the model, so only its own words count."""
    said = " ".join(parts)
    words = [word.lower() for word in _WORD.findall(said)]
    pairs = list(pairwise(words))
    found = {
        "empty": len(words) < _FEWEST_WORDS,
        "repetition": len(set(pairs)) < _FEWEST_DISTINCT * len(pairs),
        "language": sum(word in _COMMON for word in words) < _FEWEST_COMMON * len(words),
        "refusal": bool(_REFUSAL.search(said)),
        "truncated": 2 * list(finish).count("length") >= len(finish),
        "decision": any(
            _decides(texts.clean(opening, TEXT_LIMIT), one)
            for opening, part in zip(openings, parts, strict=False)
            for one in split_sentences(part)
        ),
    }
    return [name for name in FLAGS if found[name]]


def undecided(text: str) -> str:
    """The text without the sentences that say whether the person chose the item: what may be shown of any text."""
    return " ".join(one for one in split_sentences(text) if not states_decision(one))


def decided(text: str, quoted: Iterable[str] = ()) -> bool:
    """Whether the text says that the person chose the item or not. What lies within a name that is `quoted`, such as a
    title, and the mark behind it, says nothing; what a name is only a part of does."""
    names = [
        found.span() for name in filter(None, quoted) for found in re.finditer(rf"{re.escape(name)}\s*[,.!:]?", text)
    ]
    return any(
        not any(start <= match.start() and match.end() <= end for start, end in names)
        for match in _DECISION.finditer(text)
    )


def states_decision(sentence: str) -> bool:
    return bool(_DECISION.search(sentence))


def split_sentences(text: str) -> list[str]:
    return [sentence for sentence in _SENTENCE.split(text) if sentence]


def copied_share(text: str, source: str, *, run: int = 3) -> float:
    """The share of the text's runs of `run` words that stand in the source word for word."""
    ours, theirs = ([word.lower() for word in re.findall(r"\w+", one)] for one in (text, source))
    known = set(zip(*(theirs[start:] for start in range(run)), strict=False))
    runs = list(zip(*(ours[start:] for start in range(run)), strict=False))
    return sum(one in known for one in runs) / len(runs) if runs else 0.0


def _decides(opening: str, sentence: str) -> bool:
    """Whether a sentence states the decision, alone or as the end of its opening; what that quotes is not its own."""
    glued = _glued(opening, sentence)
    return states_decision(sentence) or any(match.end() > len(opening) for match in _DECISION.finditer(glued))


def _glued(opening: str, said: str) -> str:
    if not opening or not said:
        return opening + said or ""
    return f"{opening}{said}" if said[0] in ",.;:!?)'" else f"{opening} {said}"


def _ends(line: str) -> bool:
    return line.rstrip("'\")").endswith((".", "!", "?"))


def _whole(line: str) -> str:
    """`line` up to its last full sentence, or all of it if there is none."""
    ends = [match.end() for match in re.finditer(r"[.!?]['\")]*(?=\s|$)", line)]
    return line[: ends[-1]] if ends else line
