"""The page of `benchmarks.service`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks import measured
from benchmarks.load import Asked
from benchmarks.promotion import Found as Promotion
from core.markdown import table
from llmcf.serving.manifest import Release

REFUSALS = (429, 503)
REST = "HTTP, waiting and the rest"
_NAMES = {"llm-cf": "LLM-CF", "none": "plain"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """So many clients on a release of a framework. Milliseconds of answers, and of refusals; answers a second."""

    framework: str
    clients: int
    patient: bool
    answers: int
    p50_ms: float | None
    p99_ms: float | None
    per_second: float
    refused: float
    refused_p99_ms: float | None
    failed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """`stages` and `floors` hold p50 and p99 in milliseconds by name; `starts` are seconds of cold starts.

    Of the answers `held` were compared with what their release gives, `wrong` are the faults.
    """

    levels: list[Level]
    stages: dict[str, dict[str, tuple[float, float]]]
    floors: dict[str, tuple[float, float]]
    starts: list[float]
    held: int = 0
    wrong: Sequence[str] = ()
    promotion: Promotion | None = None


def level(framework: str, clients: int, patient: bool, asked: Sequence[Asked], seconds: float) -> Level:
    """What that load came to; `seconds` of it in all."""
    good = [one.ms for one in asked if one.status == 200]
    refused = [one.ms for one in asked if one.status in REFUSALS]
    return Level(
        framework=framework,
        clients=clients,
        patient=patient,
        answers=len(good),
        p50_ms=_percentile(good, 50),
        p99_ms=_percentile(good, 99),
        per_second=round(len(good) / seconds, 1),
        refused=round(len(refused) / max(1, len(asked)), 4),
        refused_p99_ms=_percentile(refused, 99),
        failed=len(asked) - len(good) - len(refused),
    )


def stages(asked: Sequence[Asked]) -> dict[str, tuple[float, float]]:
    """p50 and p99 of each stage that the answers tell of, and of what lies between them and the client."""
    spent: dict[str, list[float]] = {}
    for one in asked:
        if one.status == 200:
            for name, ms in one.stages.items():
                spent.setdefault(name, []).append(ms)
            spent.setdefault(REST, []).append(one.ms - sum(one.stages.values()))
    rest = spent.pop(REST, [])
    spent |= {REST: rest} if rest else {}
    return {name: (_percentile(ms, 50) or 0.0, _percentile(ms, 99) or 0.0) for name, ms in spent.items()}


def _percentile(values: Sequence[float], share: int) -> float | None:
    return round(float(np.percentile(values, share)), 2) if values else None


def page(found: Found, chosen: Mapping[str, Release], store: str, workers: int, command: str) -> str:
    """The figures with what they were measured on and what is wanted, as Markdown."""
    first = next(iter(chosen.values()))
    lines = [
        "# The service under load",
        "",
        f"`POST /recommendations` for ten items out of 200 candidates of {first.dataset} ({first.order}); {workers} "
        f"workers, online store on {store}. Clients are closed loops in another process, on this machine as all else. "
        "One that is refused asks again after a tenth of a second, a patient one when it is told to.",
        f"{measured.sentence()}. `{command}`",
        "",
        *(f"- {_NAMES[name]}: {_told(release)}" for name, release in chosen.items()),
        "",
        *table(
            [
                "ranker",
                "clients",
                "answers",
                "p50 ms",
                "p99 ms",
                "answers a second",
                "refused",
                "p99 ms of refusals",
                "failed",
            ],
            [_row(one) for one in sorted(found.levels, key=lambda one: (one.framework, one.clients, one.patient))],
        ),
        "",
        *_judged(found),
        "",
        "## Stages of an answer at one client",
        "",
        *_stages(found),
        "",
        *_promotion(found.promotion),
        *(f"- {one}" for one in found.wrong[:10]),
        "## Floors",
        "",
        *table(["", "p50 / p99 ms"], [[name, _pair(pair)] for name, pair in found.floors.items()]),
        "",
    ]
    return "\n".join(lines)


def _told(release: Release) -> str:
    ranker, tower = release.stages["ranker"], release.stages["user_vector"]
    return f"release {release.number}, {ranker.backbone} {ranker.recipe}, {tower.backbone} {tower.recipe}"


def _row(one: Level) -> list[str]:
    figures = [_ms(one.p50_ms), _ms(one.p99_ms), f"{one.per_second:.1f}", f"{one.refused:.1%}", _ms(one.refused_p99_ms)]
    clients = f"{one.clients}{', patient' * one.patient}"
    return [_NAMES.get(one.framework, one.framework), clients, f"{one.answers:,}", *figures, str(one.failed)]


def _ms(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _pair(pair: tuple[float, float]) -> str:
    return f"{pair[0]:.2f} / {pair[1]:.2f}"


def _judged(found: Found) -> list[str]:
    """What is wanted, beside what was measured, as far as it was."""
    at = {(one.framework, one.clients): one for one in found.levels if not one.patient}
    rows = []
    if one := at.get(("llm-cf", 1)):
        rows.append(["LLM-CF, p50 at one client", f"{_ms(one.p50_ms)} ms", "at most 25 ms"])
        if (plain := at.get(("none", 1))) and one.p50_ms and plain.p50_ms:
            rows.append(["LLM-CF's p50 to plain's", f"{one.p50_ms / plain.p50_ms:.2f}", "at most 1.5"])
    if four := at.get(("llm-cf", 4)):
        rows.append(["LLM-CF, p99 at four clients", f"{_ms(four.p99_ms)} ms", "at most 150 ms"])
        if more := at.get(("llm-cf", 16)):
            pair = f"{more.per_second:.1f} and {four.per_second:.1f}"
            rows.append(["answers a second at 16 clients and at four", pair, "not fewer at 16"])
    for patient, whose in ((False, "p99 of refusals, at most"), (True, "the same, of clients that wait as told")):
        ms = [one.refused_p99_ms for one in found.levels if one.patient == patient and one.refused_p99_ms is not None]
        rows += [[whose, f"{max(ms):.1f} ms", "under 10 ms"]] if ms else []
    starts = ", ".join(f"{one:.1f}" for one in found.starts)
    if found.held:
        rows.append(["answers that are wrong", f"{len(found.wrong)} of {found.held:,} compared", "none"])
    if one := found.promotion:
        failed = f"{one.failed} of {one.requests:,} requests in {len(one.switches)} switches"
        rows.append(["promotions and rollbacks under load: failed", failed, "none"])
        rows.append(["the same: answers that mix releases", f"{one.mixed} of {one.answers:,} compared", "none"])
    rows.append(["cold starts to ready, the first with cold files", f"{starts} s", "at most 5 s"])
    return table(["", "measured", "wanted"], rows)


def _promotion(found: Promotion | None) -> list[str]:
    if found is None:
        return []
    rows = [[name, f"{seconds:.2f}"] for name, seconds in found.switches]
    spent = f"p50 {found.p50_ms:.1f} ms, p99 {found.p99_ms:.1f} ms, at most {found.most_ms:.1f} ms"
    title = "## Promotions and rollbacks under load"
    return [
        title,
        "",
        *table(["under load", "s until every worker"], rows),
        "",
        f"{found.requests:,} requests: {spent}.",
        "",
    ]


def _stages(found: Found) -> list[str]:
    names = [*dict.fromkeys(name for told in found.stages.values() for name in told if name != REST), REST]
    rows = [[name, *(_pair(told[name]) if name in told else "" for told in found.stages.values())] for name in names]
    return table(["p50 / p99 ms", *(_NAMES.get(one, one) for one in found.stages)], rows)
