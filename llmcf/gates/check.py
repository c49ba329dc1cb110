"""`llmcf release check`: every gate of a release, measured beside the live release on the same rows, and written down.

Nothing goes live here: `llmcf release promote --checked` rests on what is written.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from math import inf
from typing import Any

from core import alerts
from core.alerts import Alert
from core.errors import LlmcfError, Missing, NotPassed
from core.progress import say
from core.result import Result
from llmcf import audit, skew
from llmcf.gates import answering, figures, held_out, indexes, page, served
from llmcf.gates.answering import Answering, Answers
from llmcf.gates.deciding import Absent, Fault, Figure, Found, Sound, decide, reasons, text
from llmcf.gates.held_out import Moment
from llmcf.service import served_log, state
from llmcf.serving import forward, releases, thresholds, verdicts
from llmcf.serving.manifest import Release
from llmcf.serving.thresholds import GATES, Thresholds
from llmcf.serving.verdicts import Gate, Verdict

ALERT = "release-check"
TIMED = ("canary", "p50", "p99")


def check(dataset: str, number: int | None = None, *, onwards: bool = False) -> Result:
    """Check a release, the newest one if no number is given, and keep what was found beside its manifest.

    Args:
        onwards: one of an earlier day than the live release, which does not replace that, is held against its bounds
            alone. No promotion may rest on it while the other is live.

    A release that fails sends one alert; `require_passed` then objects. What is live stays as it is, either way.

    Raises:
        UsageError: if there is no such release, or the data set's thresholds are faulty.
        LlmcfError: if there is none at all, or it was made in another home.
    """
    start, limits = time.monotonic(), thresholds.load(dataset)
    release = releases.require(dataset, number or _newest(dataset))
    verdict = _verdict(release, limits, onwards=onwards)
    with releases.locked():  # nobody removes it in these moments
        releases.read(dataset, release.number)
        written = verdicts.write(release, verdict)
        shown = page.write(release, verdict, limits)
    if not verdict.passed:
        _alert(release, verdict)
    return Result(
        verb="release check",
        workspace=release.workspace,
        seconds=time.monotonic() - start,
        artifacts={"check": str(written), "page": str(shown)},
        details={
            "release": release.number,
            "state": verdicts.state(dataset, release.number),
            "against": verdict.against,
            "not_compared": verdict.compared,
            "rows": verdict.rows,
            "gates": verdict.as_json()["gates"],
            "text": text(verdict.gates),
        },
    )


def require_passed(result: Result) -> None:
    """Raises NotPassed if the check found that a gate fails."""
    if result.details["state"] != verdicts.PASSED:
        raise NotPassed(
            f"release {result.details['release']} of {result.workspace and result.workspace.dataset} does not pass: "
            f"{result.details['state']}; what is live stays"
        )


def _newest(dataset: str) -> int:
    found = releases.newest(dataset)
    if found is None:
        raise Missing(f"there is no release of {dataset}", f"llmcf export --dataset {dataset}")
    return found.number


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """A release and the one it is compared with, ready to be asked about the same moments."""

    release: Answering
    live: Answering | None
    moments: list[Moment]
    told: Answers
    live_told: Answers | None
    compared: str


def _verdict(release: Release, limits: Thresholds, *, onwards: bool = False) -> Verdict:
    against, manifest, alone = verdicts.against(release), verdicts.digest(release), "no other release is live"
    if onwards and (later := forward.later_live(release)):
        against, alone = None, f"release {later.number} of {later.as_of}, a later day, stays live"
        say(f"{alone}: release {release.number} of {release.as_of} is held against its bounds alone")
    found: dict[str, Found] = {}
    asked = _guarded(lambda: _asked(release, against, limits, alone=alone))
    if isinstance(asked, Fault):
        compared = asked.why
        found |= dict.fromkeys((*figures.METRICS, *TIMED), asked)
    else:
        found |= {name: figures.measure(name, asked.told, asked.live_told, limits) for name in figures.METRICS}
        timed, untimed = _timed(asked, limits)
        found |= timed
        compared = "; ".join(filter(None, (asked.compared, untimed)))
    others: Mapping[str, Callable[[], Found]] = {
        "leaks": lambda: _leaks(release),
        "skew": lambda: _skew(release.dataset),
        "recall": lambda: indexes.recall(release),
    }
    found |= {name: _guarded(measure) for name, measure in others.items() if name not in limits.off}
    gates = tuple(decide(name, found.get(name, Absent("")), limits) for name in GATES)
    if not isinstance(asked, Fault) and asked.live is None and against is not None and not limits.uncompared:
        gates = tuple(_uncompared(gate, against) for gate in gates)
    rows = {} if isinstance(asked, Fault) else _rows(asked)
    return Verdict(
        release=release.number,
        manifest=manifest,
        against=against,
        compared=compared,
        thresholds=limits.digest,
        checked=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        rows=rows,
        gates=gates,
    )


def _guarded(measure: Callable[[], Any]) -> Any:
    """What `measure` finds, or the fault that keeps it from finding anything."""
    try:
        return measure()
    except LlmcfError as error:
        return Fault(str(error))


def _asked(release: Release, against: int | None, limits: Thresholds, *, alone: str) -> _Asked:
    """Both releases asked; the live one alone may fail to answer, which is then told and compared with nothing;
    whether it may pass so is the thresholds' matter.

    Args:
        alone: why there is none to compare with, where `against` is None.

    Raises:
        LlmcfError: if the release cannot be asked, or there are no held-out rows.
    """
    ws, other, why = release.workspace, None, ""
    if against is None:
        why = alone
    else:
        try:
            live = releases.require(release.dataset, against)
            other = Answering(live, ws)
        except LlmcfError as error:
            why = f"release {against} cannot be asked: {error}"
    compared = [release, *([other.release] if other else [])]
    moments = held_out.moments(ws, compared, limits.users)
    if not moments:
        raise LlmcfError(f"{ws.root} has no held-out rows that neither release may have learnt from")
    ours = Answering(release, ws)
    told, live_told = answering.ask(ours, moments), None
    if other is not None:
        try:
            live_told = answering.ask(other, moments)
        except LlmcfError as error:
            other, why = None, f"release {against} cannot be asked: {error}"
    if why and against is not None:
        say(why)
    return _Asked(release=ours, live=other, moments=moments, told=told, live_told=live_told, compared=why)


def _uncompared(gate: Gate, live: int) -> Gate:
    """The gate, which fails where it should have been held against the live release; `compared` says why not."""
    if gate.name not in figures.METRICS or gate.state != verdicts.PASSED or gate.margin in (None, inf):
        return gate
    told = f"{gate.reason}; release {live} cannot be asked, which `uncompared = true` in {thresholds.FILE} allows"
    return replace(gate, state=verdicts.FAILED, reason=told)


def _rows(asked: _Asked) -> dict[str, int]:
    told = asked.told
    return {"rows": len(told.label_N), "requests": len(told.rank_B), "users": len(set(told.user_B.tolist()))}


def _timed(asked: _Asked, limits: Thresholds) -> tuple[dict[str, Found], str]:
    """The canary and the timings, and why these are not compared where everything else is."""
    if not set(TIMED) - set(limits.off):
        return {}, ""
    timed = _guarded(lambda: served.answer(asked.release, asked.live, asked.moments, limits.requests))
    if isinstance(timed, Fault):
        absent = Absent("the canary did not answer, so nothing was timed")
        return {"canary": timed, **dict.fromkeys(TIMED[1:], absent)}, ""
    alone = f"timings are not compared: the live release does not answer on Triton: {timed.why}" if timed.why else ""
    if alone:
        say(alone)
    found: dict[str, Found] = {"canary": Sound("Triton answers as ONNX Runtime does")}
    for name in TIMED[1:]:
        found[name] = figures.timing(name, timed.taken_R, timed.live_R, limits, alone=alone)
    return found, alone


def _leaks(release: Release) -> Figure:
    details = audit.leaks(release.workspace).details
    broken = [one["claim"] for one in details["checks"] if one["violations"]]
    return Figure(value=details["violations"], note=f"{len(details['checks'])} claims" + _listed(broken))


def _skew(dataset: str) -> Found:
    if not served_log.read(state.folder(dataset)).num_rows:
        return Absent("no served row was sampled yet")
    details = skew.skew(dataset).details
    if not details["rows"]:
        return Absent("of the sampled rows none can be compared any more")
    off = [name for name, count in details["skewed"].items() if count]
    return Figure(
        value=details["violations"] / details["values"], note=f"{details['rows']:,} served rows" + _listed(off)
    )


def _listed(names: Sequence[str]) -> str:
    return f"; broken: {'; '.join(names)}" if names else ""


def _alert(release: Release, verdict: Verdict) -> None:
    """Once for each release and what it failed."""
    failed = [gate for gate in verdict.gates if gate.state == verdicts.FAILED]
    alerts.send(
        Alert(
            id=f"{release.dataset} {release.number} {verdict.manifest} {' '.join(verdict.failed)}",
            kind=ALERT,
            dataset=release.dataset,
            text=f"release {release.number} does not pass its check, what is live stays: {reasons(failed)}",
            figures={gate.name: gate.value for gate in failed},
        )
    )
