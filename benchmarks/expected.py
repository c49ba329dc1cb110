"""What a release should answer, worked out in this process: its graphs by ONNX Runtime, its features from the store."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isclose
from typing import Any

import numpy as np

from benchmarks.load import Answer
from llmcf.service import rules
from llmcf.service.asking import CANDIDATES
from llmcf.service.rules import Scene
from llmcf.service.ways import FULL, LAST_KNOWN, POPULAR, PREVIOUS
from llmcf.serving import releases
from llmcf.serving.manifest import Release
from llmcf.serving.question import Question
from llmcf.serving.recommender import Recommender
from llmcf.serving.triton_client import open_locally

_CLOSE = 1e-3  # of what two items are ordered by, by which they may change places
TOLERANCE = 2e-4  # of a score, which the load rounds to four digits


class Local:
    """In place of a client of Triton: the graphs in this process; what is not sent is zero."""

    def __init__(self, release: Release) -> None:
        self._stages = release.stages
        self._run = {
            name: open_locally(release.models / name / str(stage.version) / "model.onnx", name)
            for name, stage in release.stages.items()
        }

    def infer(self, model: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        rows = len(next(iter(arrays.values())))
        feed = {
            tensor.name: arrays.get(tensor.name, np.zeros((rows, *tensor.shape), dtype=tensor.dtype))
            for tensor in self._stages[model].inputs
        }
        return self._run[model](feed)


class _Unknown:
    """Features of a store that does not answer for items; the user is as last read."""

    def __init__(self, features: Any) -> None:
        self._features = features

    def __getattr__(self, name: str) -> Any:
        return getattr(self._features, name)

    def dense(self, user: Mapping[str, Any], items: Any, day: int) -> np.ndarray:
        return np.zeros_like(self._features.dense(user, items, day))


@dataclass(frozen=True, slots=True)
class Ranked:
    """An answer that is right: items in order; the score of every candidate, and what it is ordered by, by its raw id
    (None: unscored)."""

    items: list[str]
    scores: dict[str, float] | None
    worth: dict[str, float]


class Expected:
    """Right answers of one release without rules, each worked out once."""

    def __init__(self, release: Release) -> None:
        self._client: Any = Local(release)
        self._whole = Recommender.load(release)
        self._whole.prepare()
        self._bare = replace(self._whole, features=_Unknown(self._whole.features))
        self._kept: dict[tuple[str, str, int], list[Ranked]] = {}

    def of(self, user: str, rung: str, k: int) -> list[Ranked]:
        """What may be answered on a rung: while the store is away, features of items may be known or not."""
        key = user, rung, k
        if key not in self._kept:
            by = {LAST_KNOWN: (self._whole, self._bare)}.get(rung, (self._whole,))
            self._kept[key] = [self._ranked(one, user, rung, k) for one in by]
        return self._kept[key]

    def fault(self, answer: Answer, k: int) -> str:
        """What is wrong with an answer, "" if nothing is."""
        if answer.rung not in (FULL, LAST_KNOWN, PREVIOUS, POPULAR):
            return f"unknown rung {answer.rung}"
        faults = [_difference(answer, one) for one in self.of(answer.user, answer.rung, k)]
        return "" if "" in faults else faults[0]

    def _ranked(self, recommender: Recommender, user: str, rung: str, k: int) -> Ranked:
        question, names = Question(user=user, count=CANDIDATES), recommender.catalogue
        found = recommender.popular(question) if rung == POPULAR else recommender.rank(self._client, question)
        worth_C = np.linspace(1.0, 0.5, len(found.item_C)) if found.worth_C is None else found.worth_C
        order = rules.arrange(Scene(), found.item_C, worth_C, k, rules.facts(names)).order[:k]
        raw = [names.item_ids[row] for row in found.item_C.tolist()]
        scores = None if found.score_C is None else dict(zip(raw, found.score_C.tolist(), strict=True))
        return Ranked([raw[at] for at in order], scores, dict(zip(raw, worth_C.tolist(), strict=True)))


def faults(dataset: str, answers: Sequence[Answer], k: int) -> list[str]:
    """Answers that were another than their rung and release must give, each once, with what is wrong."""
    right = {number: Expected(releases.require(dataset, number)) for number in {one.release for one in answers}}
    told = ((one, right[one.release].fault(one, k)) for one in answers)
    return [f"{one.user}, release {one.release}, {one.rung}: {what}" for one, what in told if what]


def _difference(answer: Answer, right: Ranked) -> str:
    """Two items that are closer than rounding may change places, and nothing else may."""
    if right.scores is None or answer.scores is None:
        same = answer.items == right.items and right.scores is None and answer.scores is None
        return "" if same else f"{answer.items} in place of {right.items}"
    if len(answer.items) != len(right.items) or len(set(answer.items)) < len(answer.items):
        return f"{len(answer.items)} items in place of {len(right.items)}"
    for place, (item, score) in enumerate(zip(answer.items, answer.scores, strict=True)):
        own, wanted = right.scores.get(item), right.items[place]
        if own is None or abs(own - score) > TOLERANCE:
            return f"place {place + 1} has {item} with {score}, which has {own}"
        if not isclose(right.worth[item], right.worth[wanted], rel_tol=_CLOSE):
            return f"place {place + 1} has {item}, not {wanted}"
    return ""
