"""From what was measured to a decision: pure functions, which read and ask nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isfinite

from core.markdown import table
from core.uncertainty import Interval
from llmcf.serving.thresholds import GATES, LLM_GATES, Limit, Thresholds
from llmcf.serving.verdicts import FAILED, NOT_APPLICABLE, PASSED, Gate


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """How a gate's figure is told and judged.

    Args:
        higher: whether more is better.
        digits: behind the point.
        relative: its gap is a share of the live release's figure.
        sampled: users could have been others, so the worse end of the interval decides unless the estimate is asked
            for. Timings are decided by the estimate: a busy machine widens their intervals at will. So is the share of
            degenerate texts: of the few that are written, one is several hundredths.
    """

    label: str
    higher: bool
    digits: int = 4
    relative: bool = False
    sampled: bool = False


SPECS = {
    "auc": Spec(label="AUC", higher=True, sampled=True),
    "gauc": Spec(label="GAUC", higher=True, sampled=True),
    "logloss": Spec(label="LogLoss", higher=False, sampled=True),
    "ece": Spec(label="ECE", higher=False, sampled=True),
    "hit": Spec(label="HIT@10", higher=True, sampled=True),
    "ndcg": Spec(label="NDCG@10", higher=True, sampled=True),
    "leaks": Spec(label="leaks", higher=False, digits=0),
    "skew": Spec(label="served skew", higher=False, digits=6),
    "recall": Spec(label="index recall@10", higher=True),
    "canary": Spec(label="canary", higher=False),
    "p50": Spec(label="p50, ms", higher=False, digits=1, relative=True),
    "p99": Spec(label="p99, ms", higher=False, digits=1, relative=True),
    "llm_auc": Spec(label="AUC of P(Yes)", higher=True, sampled=True),
    "llm_nats": Spec(label="nats a token", higher=False, sampled=True),
    "llm_degenerate": Spec(label="degenerate texts", higher=False, digits=2),
    "llm_mmlu": Spec(label="MMLU", higher=True, sampled=True),
}
assert tuple(SPECS) == (*GATES, *LLM_GATES)

LIVE = ("live", "release")


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """What was measured: the release's value, the live one's on the same rows, and the gap between them.

    Args:
        note: what it rests on, as the end of a sentence.
        beside: what `live` is of: the live release, or another model.
    """

    value: float
    interval: Interval | None = None
    live: float | None = None
    gap: Interval | None = None
    note: str = ""
    beside: tuple[str, str] = LIVE


@dataclass(frozen=True, slots=True)
class Sound:
    """It is as it must be; there is no number."""

    why: str


@dataclass(frozen=True, slots=True)
class Absent:
    """There is nothing to measure: the gate does not apply."""

    why: str


@dataclass(frozen=True, slots=True)
class Fault:
    """It is broken, or could not be measured although it must be: the gate fails."""

    why: str


Found = Figure | Sound | Absent | Fault


def text(gates: Sequence[Gate]) -> str:
    """A line a gate."""
    rows = [[SPECS[gate.name].label, gate.state, gate.reason] for gate in gates]
    return "\n".join(table(["gate", "state", "why"], rows))


def reasons(gates: Sequence[Gate]) -> str:
    """Why those that failed did."""
    return "; ".join(f"{gate.name}: {gate.reason}" for gate in gates if gate.state == FAILED)


def decide(name: str, found: Found, thresholds: Thresholds) -> Gate:
    """One gate. What cannot be measured does not pass."""
    spec, limit = SPECS[name], thresholds.of(name)
    if name in thresholds.off:
        return Gate(name=name, state=NOT_APPLICABLE, reason="left out by gates.toml", higher=spec.higher)
    if not isinstance(found, Figure):
        state = {Sound: PASSED, Absent: NOT_APPLICABLE, Fault: FAILED}[type(found)]
        return Gate(name=name, state=state, reason=found.why, higher=spec.higher)
    assert limit is not None, "a figure has a limit"
    faults = _faults(spec, found, limit, by_interval=spec.sampled and thresholds.decide_by == "interval")
    told = [_told(spec, found), *([found.note] if found.note else [])]
    low, high = _ends(found.interval)
    gap_low, gap_high = _ends(found.gap)
    return Gate(
        name=name,
        state=FAILED if faults else PASSED,
        reason="; ".join([*faults, *told]),
        higher=spec.higher,
        value=found.value,
        low=low,
        high=high,
        live=found.live,
        gap=None if found.gap is None else found.gap.estimate,
        gap_low=gap_low,
        gap_high=gap_high,
        bound=limit.bound if isfinite(limit.bound) else None,
        margin=limit.margin if isfinite(limit.margin) else None,
    )


def _faults(spec: Spec, found: Figure, limit: Limit, *, by_interval: bool) -> list[str]:
    """What it does not keep to, in words."""
    faults, sign = [], 1 if spec.higher else -1
    worse = "below" if spec.higher else "above"
    value = _worst(found.value, found.interval, sign, by_interval=by_interval)
    if not sign * (value - limit.bound) >= 0:  # NaN is no pass
        faults.append(_fault(spec, value, found.value, f"{worse} the bound {limit.bound:.{spec.digits}f}"))
    if found.gap is not None and limit.margin < inf:
        gap = _worst(found.gap.estimate, found.gap, sign, by_interval=by_interval)
        if not sign * gap >= -limit.margin:
            said = _gap_text(spec, sign * limit.margin * -1)
            what = f"{worse} the margin {said} to the {' '.join(found.beside)}"
            faults.append(_fault(spec, gap, found.gap.estimate, what, gap=True))
    return faults


def _fault(spec: Spec, decisive: float, estimate: float, what: str, *, gap: bool = False) -> str:
    number = (lambda value: _gap_text(spec, value)) if gap else (lambda value: f"{value:.{spec.digits}f}")
    subject = f"{spec.label}{' difference' if gap else ''}"
    if decisive == estimate:
        return f"{subject} {number(estimate)} is {what}"
    return f"{subject} may be {number(decisive)} (the worse end of its interval), which is {what}"


def _told(spec: Spec, found: Figure) -> str:
    text = f"{spec.label} {found.value:.{spec.digits}f}{_interval_text(spec, found.interval)}"
    if found.live is None:
        return text
    text += f", {found.beside[0]} {found.live:.{spec.digits}f}"
    if found.gap is None:
        return text
    low, high = _gap_text(spec, found.gap.low), _gap_text(spec, found.gap.high)
    return f"{text}, difference {_gap_text(spec, found.gap.estimate)} [{low}, {high}]"


def _interval_text(spec: Spec, interval: Interval | None) -> str:
    return "" if interval is None else f" [{interval.low:.{spec.digits}f}, {interval.high:.{spec.digits}f}]"


def _gap_text(spec: Spec, gap: float) -> str:
    return f"{gap:+.0%}" if spec.relative else f"{gap:+.{spec.digits}f}"


def _worst(estimate: float, interval: Interval | None, sign: int, *, by_interval: bool) -> float:
    if interval is None or not by_interval:
        return estimate
    return interval.low if sign > 0 else interval.high


def _ends(interval: Interval | None) -> tuple[float | None, float | None]:
    return (None, None) if interval is None else (interval.low, interval.high)
