"""What a recommendation request is answered with, as values and as text."""

from collections.abc import Sequence
from dataclasses import dataclass, field

_TEXT = 110  # characters of a chain of thought in the text


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One in-context example that the ranker saw: what another request was about, how it ended, and why.

    `user` is a raw id, `similarity` the half-and-half cosine of histories and items, `text` the chain of thought
    without sentences that say how it ended.
    """

    example: int
    user: str
    title: str
    liked: bool
    date: str
    similarity: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """An item, by raw id. `score` is P(click), None where no model was asked."""

    item: str
    title: str
    score: float | None = None
    evidence: Sequence[Evidence] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The best items for one user, best first, and the milliseconds that each stage of the request took."""

    user: str
    items: Sequence[Recommendation]
    cold_start: bool = False
    note: str = ""
    milliseconds: dict[str, float] = field(default_factory=dict)


def text(answers: Sequence[Answer]) -> str:
    """All answers, one paragraph a user."""
    return "\n\n".join("\n".join(_lines(answer)) for answer in answers)


def _lines(answer: Answer) -> list[str]:
    lines = [f"user {answer.user}" + (f": {answer.note}" if answer.note else "")]
    for place, item in enumerate(answer.items, start=1):
        score = "" if item.score is None else f"  {item.score:.3f}"
        lines.append(f"  {place:2}. {item.title}{score}")
        lines += [f"        {_evidence_line(evidence)}" for evidence in _nearest(item.evidence)]
    if answer.milliseconds:
        stages = ", ".join(f"{stage} {taken:.1f}" for stage, taken in answer.milliseconds.items())
        lines.append(f"  milliseconds: {stages}; together {sum(answer.milliseconds.values()):.1f}")
    return lines


def _nearest(evidence: Sequence[Evidence]) -> list[Evidence]:
    """The most similar example of either outcome; a program gets them all."""
    return [
        next(each for each in evidence if each.liked is liked) for liked in dict.fromkeys(e.liked for e in evidence)
    ]


def _evidence_line(evidence: Evidence) -> str:
    verdict = "took" if evidence.liked else "did not take"
    said = evidence.text if len(evidence.text) <= _TEXT else evidence.text[: _TEXT - 3] + "..."
    return f"user {evidence.user} {verdict} {evidence.title} (similarity {evidence.similarity:.2f}): {said!r}"
