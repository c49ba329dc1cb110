"""`llmcf monitor`: what has changed in a day's workspace since a reference day, as a page, as figures and as alerts."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from core import alerts, steps
from core import settings as environment
from core.data import tables
from core.errors import LlmcfError, NotPassed
from core.result import Result
from core.settings import Workspace
from core.steps import STAMP
from llmcf.monitoring import (
    examples,
    features,
    history,
    judging,
    limits,
    online,
    page,
    past,
    places,
    profile,
    prometheus,
    reference,
    scores,
    shown,
    texts,
    vectors,
)
from llmcf.monitoring.figures import Part
from llmcf.monitoring.limits import Settings
from llmcf.monitoring.shown import Earlier
from llmcf.reports import made_of
from llmcf.serving.manifest import Release


def monitor(
    ws: Workspace, *, against: str | None = None, textfile: Path | None = None, now: float | None = None
) -> Result:
    """Measure a day, keep its figures, send its alerts, then write its file for Prometheus and its page.

    Of a day before one that was monitored already, what only its own time could tell stays as it was found then, is no
    alert, and Prometheus keeps the newest day.

    Args:
        against: the reference's as-of day; else as of `reference.choose`.
        textfile: where else the text for Prometheus is put, for a node_exporter to read.
        now: Unix seconds; the wall's clock if not given.

    Raises:
        UsageError: for a reference that is not there, a faulty monitor.toml, a textfile that cannot be written, a
            webhook that is no address; all before anything is measured.
        Missing: if the day's features are not built.
    """
    start, moment = time.monotonic(), time.time() if now is None else now
    settings = _checked(ws, textfile)
    steps.require(ws.path("features"), tables.remedy(ws, "features build"))
    release, no_release = reference.live(ws.dataset)
    held, why = reference.choose(ws, release, against)
    lines = history.read(ws)
    earlier = _earlier(history.of(lines, held.as_of)) if held else None
    first, is_past = history.of(lines, ws.as_of), past.is_past(ws, lines)
    if is_past:
        now = moment = float(first["time"]) if first else moment
    then = {name: past.part(name, first) for name in past.OF_ITS_TIME} if is_past else {}
    end, parts, kept = _measured(ws, held, release, earlier, settings, now, then)
    kept = _earlier(first) if is_past else kept
    if held is None:
        parts[0].missing.append(f"drift of features and vectors: {why}; `--reference` names a day")
    if release is None:
        parts[0].missing.append(f"the live release: {no_release}")
    found = judging.judge(parts, settings)
    raised = judging.alerts(ws, held, found)
    line = _line(ws, held, end, moment, parts, list(found), kept)
    history.keep(ws, line)
    of_today = judging.judge([one for one in parts if one.name not in then], settings)
    for alert in raised:
        if alert.kind in of_today:
            alerts.send(alert)
    for path in filter(None, () if is_past else (places.prometheus(ws), textfile)):
        prometheus.write(path, ws, parts, found, settings, end=end, now=moment)
    _write_page(ws, held, why, parts, raised, found, settings)
    _write_made_of(ws, held, release)
    return _result(ws, held, why, parts, raised, time.monotonic() - start)


def require_none(result: Result) -> None:
    """Raises NotPassed if there is an alert."""
    if kinds := [one["kind"] for one in result.details["alerts"]]:
        raise NotPassed(f"{len(kinds)} alerts: {', '.join(kinds)}; docs/runbook.md says what to do")


def _checked(ws: Workspace, textfile: Path | None) -> Settings:
    """The data set's settings, once everything that a person names can be used; raises UsageError for what cannot."""
    environment.alert_webhook()
    if textfile is not None:
        prometheus.check(textfile)
    return limits.load(ws.dataset)


def _measured(
    ws: Workspace,
    held: Workspace | None,
    release: Any,
    earlier: Earlier | None,
    settings: Settings,
    now: float | None,
    then: Mapping[str, Part],
) -> tuple[int, list[Part], Earlier | None]:
    """The end of the workspace, the parts, and what to keep of what was recommended.

    Args:
        then: parts by name that are not measured again.
    """
    bounds, kept = settings.limits, []
    before = profile.of_reference(held, days=bounds.days) if held else None
    end, found, keys = profile.of_samples(ws, days=bounds.days)
    of_features = features.compare(found, keys, before, least=bounds.least_rows)
    if not ws.path("training", STAMP).exists():
        of_features.missing.append(f"features of rows: `{tables.remedy(ws, 'features join')}` has not run")

    def recommended() -> Part:
        part, keep = shown.compare(ws, held, release, earlier, days=bounds.days, least=bounds.least_shown)
        kept.append(keep)
        return part

    others: dict[str, Callable[[], Part]] = {
        vectors.NAME: lambda: vectors.compare(*profile.clouds(ws), before),
        examples.NAME: lambda: examples.compare(ws, held, days=bounds.days),
        texts.NAME: lambda: texts.compare(ws, held, now=time.time() if now is None else now),
        scores.NAME: lambda: scores.compare(ws, held, release),
        shown.NAME: recommended,
        online.NAME: lambda: online.compare(ws, held, now=now),
    }
    return (
        end,
        [of_features, *(then.get(name) or _part(name, work) for name, work in others.items())],
        kept[0] if kept else None,
    )


def _part(name: str, work: Callable[[], Part]) -> Part:
    """A part; one that fails says so, and the others are measured."""
    try:
        return work()
    except LlmcfError as error:
        return Part(name=name, missing=[f"{name}: {error}"])


def _earlier(line: dict[str, Any] | None) -> Earlier | None:
    told = line and line.get("recommended")
    return Earlier(told["source"], told["shown"], told["figures"]) if told else None


def _line(
    ws: Workspace,
    held: Workspace | None,
    end: int,
    moment: float,
    parts: list[Part],
    kinds: list[str],
    kept: Earlier | None,
) -> dict[str, Any]:
    recommended = kept and {"source": kept.source, "shown": kept.shown, "figures": kept.figures}
    return {
        "dataset": ws.dataset,
        "order": ws.order,
        "as_of": ws.as_of,
        "end": end,
        "reference": held and held.as_of,
        "time": round(moment),
        "alerts": kinds,
        "figures": [figure.as_json() for part in parts for figure in part.figures],
        "missing": [what for part in parts for what in part.missing],
        "recommended": recommended,
    }


def _write_page(
    ws: Workspace,
    held: Workspace | None,
    why: str,
    parts: list[Part],
    raised: list[alerts.Alert],
    found: dict[str, list[judging.Exceeded]],
    settings: Settings,
) -> None:
    from llmcf.monitoring import plots

    against = f"Held against {held.as_of}: {why}." if held else f"Held against no day: {why}."
    off = f" Alerts that are off: {', '.join(sorted(settings.off))}." if settings.off else ""
    page.write(
        places.page(ws),
        title=f"{ws.dataset}, {ws.as_of}",
        made=f"Order {ws.order}. {against}{off} Made by `{tables.remedy(ws, 'monitor')}`.",
        parts=parts,
        alerts=raised,
        found=found,
        limits=settings.limits,
        pictures=dict(plots.draw(parts, history.read(ws), settings.limits)),
    )


def _write_made_of(ws: Workspace, held: Workspace | None, release: Release | None) -> None:
    """What was looked at: the day's own, the reference's profile, the live release."""
    read = [ws.path("data"), ws.path("features"), ws.path("training"), ws.cot("texts"), ws.cot("vectors")]
    inputs = made_of.paths(*read, *([places.reference(held)] if held else []))
    inputs |= {f"release:{release.dataset}/{release.number}": release.source} if release else {}
    page = places.page(ws)
    made_of.write(places.made_of(ws), verb=tables.remedy(ws, "monitor"), ws=ws, inputs=inputs, outputs=[page])


def _result(
    ws: Workspace, held: Workspace | None, why: str, parts: list[Part], raised: list[alerts.Alert], seconds: float
) -> Result:
    missing = [what for part in parts for what in part.missing]
    return Result(
        verb="monitor",
        workspace=ws,
        seconds=seconds,
        artifacts={"page": str(places.page(ws)), "prometheus": str(places.prometheus(ws))},
        details={
            "reference": held.as_of if held else None,
            "why": why,
            "alerts": [{"kind": one.kind, "text": one.text} for one in raised],
            "figures": [figure.as_json() for part in parts for figure in part.figures],
            "missing": missing,
            "text": "\n".join(
                [f"  ALERT {one.kind}: {one.text}" for one in raised] + [f"  -- {what}" for what in missing]
            ),
        },
    )
