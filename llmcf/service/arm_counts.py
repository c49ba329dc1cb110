"""What is counted by arm: answers, failures, seconds, items shown and clicks on them; and how a shadow compares.

Every metric has the experiment, the arm of the user and the release; of an answer that another release had to give,
the release is that one's. Workers count, the supervisor and the page read (llmcf/service/traffic.py).
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import Counter, Histogram

_WHO = ["experiment", "arm", "release"]
_BOUNDS = (0.002, 0.005, 0.01, 0.015, 0.02, 0.025, 0.03, 0.04, 0.05, 0.065, 0.08, 0.1, 0.13, 0.16, 0.2, 0.25, 0.3, 0.4)
_BOUNDS += (0.5, 0.75, 1.0, 2.0)
_PREFIX = "llmcf_service_"

ANSWERS = Counter(f"{_PREFIX}arm_answers", "Answers by arm, and the rung they stand on.", [*_WHO, "rung"])
FAILURES = Counter(f"{_PREFIX}arm_failures", "Requests that a release should have answered and did not.", _WHO)
SECONDS = Histogram(
    f"{_PREFIX}arm_seconds", "Seconds of a ranking by models, with fresh features.", _WHO, buckets=_BOUNDS
)
SHOWN = Counter(f"{_PREFIX}arm_impressions", "Items shown.", _WHO)
CLICKS = Counter(f"{_PREFIX}arm_clicks", "Clicks on items that an answer showed.", _WHO)

SHADOWED = Counter(f"{_PREFIX}shadow", "Requests for the shadow, by what became of them.", ["release", "outcome"])
OVERLAP = Histogram(
    f"{_PREFIX}shadow_overlap",
    "Share of the items shown that the shadow would have shown, too.",
    ["release"],
    buckets=(0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
)
DIFFERENCE = Histogram(
    f"{_PREFIX}shadow_score_difference",
    "Mean absolute difference of P(click), of the candidates that both ranked.",
    ["release"],
    buckets=(0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0),
)
SHADOW_SECONDS = Histogram(
    f"{_PREFIX}shadow_seconds",
    "Seconds of the same requests: of the shadow, and of the answer that people got.",
    ["release", "who"],
    buckets=_BOUNDS,
)
_COUNTERS = {"answers": "arm_answers", "failures": "arm_failures", "shown": "arm_impressions", "clicks": "arm_clicks"}
NAMES = {f"{_PREFIX}{name}_total" for name in (*_COUNTERS.values(), "shadow")}
NAMES |= {f"{_PREFIX}arm_seconds_{part}" for part in ("sum", "count", "bucket")}
NAMES |= {
    f"{_PREFIX}{name}_{part}"
    for name in ("shadow_overlap", "shadow_score_difference", "shadow_seconds")
    for part in ("sum", "count")
}


@dataclass(frozen=True, slots=True)
class Figures:
    """How a release did: `ranked` requests in `seconds` together, `failed` ones, and how many were ranked within each
    bound in seconds."""

    ranked: int = 0
    failed: int = 0
    seconds: float = 0.0
    within: Mapping[float, int] = field(default_factory=dict)

    @property
    def asked(self) -> int:
        return self.ranked + self.failed

    @property
    def failure_rate(self) -> float:
        return self.failed / self.asked if self.asked else 0.0

    def __add__(self, other: "Figures") -> "Figures":
        return self._with(other, 1)

    def __sub__(self, other: "Figures") -> "Figures":
        return self._with(other, -1)

    def _with(self, other: "Figures", sign: int) -> "Figures":
        bounds = {*self.within, *other.within}
        return Figures(
            self.ranked + sign * other.ranked,
            self.failed + sign * other.failed,
            self.seconds + sign * other.seconds,
            {one: self.within.get(one, 0) + sign * other.within.get(one, 0) for one in bounds},
        )


@dataclass(frozen=True, slots=True)
class ArmRow:
    """One arm and release on the page."""

    experiment: str
    arm: str
    release: int
    answers: int
    figures: Figures
    shown: int
    clicks: int


@dataclass(frozen=True, slots=True)
class ShadowRow:
    """How a shadow compares; means are None where nothing was compared.

    `ms` are the shadow's milliseconds, `answer_ms` those of the answers to the same requests.
    """

    release: int
    outcomes: Mapping[str, int]
    overlap: float | None
    difference: float | None
    ms: float | None
    answer_ms: float | None


def figures(
    counters: Mapping[str, float], release: int, *, arm: str | None = None, experiment: str | None = None
) -> Figures:
    """What `traffic.counters` say of a release; of one arm and experiment, or of all."""
    wanted = {"release": str(release), "arm": arm, "experiment": experiment}
    sums, within = defaultdict[str, float](float), defaultdict[float, int](int)
    for name, labels, value in _read(counters):
        if any(one is not None and labels.get(label) != one for label, one in wanted.items()):
            continue
        if name == "arm_seconds_bucket":
            within[float(labels["le"])] += int(value)
        else:
            sums[name] += value
    return Figures(
        int(sums["arm_seconds_count"]), int(sums["arm_failures_total"]), sums["arm_seconds_sum"], dict(within)
    )


def arms(counters: Mapping[str, float]) -> list[ArmRow]:
    """Every arm and release that had a request, by experiment."""
    sums: dict[tuple[str, str, int], dict[str, int]] = defaultdict(lambda: dict.fromkeys(_COUNTERS, 0))
    kinds = {f"{metric}_total": kind for kind, metric in _COUNTERS.items()}
    for name, labels, value in _read(counters):
        if name in kinds:
            sums[labels["experiment"], labels["arm"], int(labels["release"])][kinds[name]] += int(value)
    return [
        ArmRow(
            experiment,
            arm,
            release,
            answers=found["answers"],
            figures=figures(counters, release, arm=arm, experiment=experiment),
            shown=found["shown"],
            clicks=found["clicks"],
        )
        for (experiment, arm, release), found in sorted(sums.items())
    ]


def shadows(counters: Mapping[str, float]) -> list[ShadowRow]:
    """Every release that was somebody's shadow."""
    outcomes: dict[int, dict[str, int]] = defaultdict(dict)
    sums: dict[tuple[int, str], float] = defaultdict(float)
    for name, labels, value in _read(counters):
        if name == "shadow_total":
            outcomes[int(labels["release"])][labels["outcome"]] = int(value)
        elif name.startswith("shadow_"):
            sums[int(labels["release"]), f"{name} {labels.get('who', '')}".strip()] += value

    def mean(release: int, name: str, who: str = "", scale: float = 1.0) -> float | None:
        total, count = (sums[release, f"shadow_{name}_{part} {who}".strip()] for part in ("sum", "count"))
        return scale * total / count if count else None

    return [
        ShadowRow(
            release=one,
            outcomes=outcomes[one],
            overlap=mean(one, "overlap"),
            difference=mean(one, "score_difference"),
            ms=mean(one, "seconds", "shadow", 1e3),
            answer_ms=mean(one, "seconds", "answer", 1e3),
        )
        for one in sorted(outcomes)
    ]


def _read(counters: Mapping[str, float]) -> Iterator[tuple[str, dict[str, Any], float]]:
    """Those of this file: name without the common beginning, labels, value."""
    starts = (f'["{_PREFIX}arm_', f'["{_PREFIX}shadow')
    for key, value in counters.items():
        if key.startswith(starts):
            name, labels = json.loads(key)
            yield name.removeprefix(_PREFIX), labels, value
