"""What the operations page shows: releases and what differs between two, how old features are, what goes on."""

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any

from core.data import datasets
from core.errors import LlmcfError
from core.settings import Workspace
from llmcf.feature_store import registry
from llmcf.service import arm_counts, choosing, state, traffic, trials
from llmcf.service.arm_counts import ArmRow, ShadowRow
from llmcf.service.problems import Problem
from llmcf.service.service import Service
from llmcf.service.store import SERVICE, Trace
from llmcf.service.traffic import Traffic
from llmcf.service.trials import Off
from llmcf.serving import manifest, releases
from llmcf.serving.manifest import Release, Stage, Unreadable

WINDOW_S = 300.0
_ANSWERS = 50  # whose rungs are counted
_ACTS = 20
_DECISIONS = 5
_DIGEST = 12  # characters that tell one from another
_HEADLINES = {"ranker": ("auc", "logloss"), "user_vector": ("hit@10", "ndcg@10")}  # of the test, in the list
# What is told otherwise, or always differs:
_APART = {"number", "source", "home", "dataset", "contract", "stages", "score"}
_APART |= {"metrics", "inputs", "outputs", "sha256", "version", "run"}  # of a stage


@dataclass(frozen=True, slots=True)
class Row:
    """A release in the list. `fault` says why one cannot be served."""

    number: int
    state: str
    created: str = ""
    day: str = ""
    stages: dict[str, "Model"] = field(default_factory=dict)
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Model:
    """A release's stage in words, and what it reached in its test."""

    words: str
    metrics: dict[str, float]


@dataclass(frozen=True, slots=True)
class Freshness:
    """Of the features that are online, in Unix seconds: the newest state, and when the store was last filled or
    pushed to. An archive's clock stands at its newest state."""

    until: float
    filled: float
    live: bool


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that two releases do not share."""

    group: str
    name: str
    first: str
    second: str
    change: str = ""


@dataclass(frozen=True, slots=True)
class Arms:
    """Who is answered by which release. `on` are arm, release and percent; `decisions` are the service's own.

    Counts go back to the start of the service.
    """

    experiment: str
    on: list[tuple[str, int, float]]
    off: list[Off]
    fault: str
    watched: list[dict[str, Any]]
    rows: list[ArmRow]
    shadows: list[ShadowRow]
    decisions: list[tuple[float, str, str, str]]


@dataclass(frozen=True, slots=True)
class Facts:
    """All of the page but the comparison. `freshness` and `traffic` are a sentence where they cannot be told."""

    releases: list[Row]
    live: int
    before: int | None
    workers: Counter[int]
    scenes: list[str]
    checks: dict[str, str]
    freshness: Freshness | str
    traffic: Traffic | str
    arms: Arms
    rungs: Counter[str]
    answers: list[Trace]
    acts: list[tuple[float, str, str, str]]


def facts(service: Service, *, acts: bool) -> Facts:
    """What is known now; `acts` says whether the audit log may be shown."""
    engine, last = service.engine, service.store.last(_ANSWERS)
    return Facts(
        releases=[row(service, number) for number in releases.numbers(engine.dataset)],
        live=engine.live.release.number,
        before=choosing.before(engine.dataset),
        workers=Counter(state.workers(engine.place).values()),
        scenes=sorted(engine.rules.scenes),
        checks=service.probe.look(),
        freshness=_freshness(engine.live.release.workspace),
        traffic=_traffic(service),
        arms=_arms(service),
        rungs=Counter(one.rung for one in last),
        answers=last[:10],
        acts=service.store.acts(_ACTS) if acts else [],
    )


def _arms(service: Service) -> Arms:
    on, note, counters = service.engine.arms, trials.note(service.engine.place), traffic.counters()
    named = [(name, arm.release, arm.percent) for name, arm in on.arms.items()]
    named += [("shadow", on.shadow.release, on.shadow.percent)] if on.shadow else []
    return Arms(
        experiment=on.experiment,
        on=named,
        off=[one for one in note.off if one.experiment == on.experiment],
        fault=note.fault,
        watched=note.watched,
        rows=arm_counts.arms(counters),
        shadows=arm_counts.shadows(counters),
        decisions=service.store.acts(_DECISIONS, who=SERVICE),
    )


def differences(dataset: str, first: int, second: int) -> list[Difference]:
    """What two releases do not share, the weights' digests left out: they always differ.

    Raises:
        UsageError: if one of them is not there.
        Problem: 409 if one cannot be read.
    """
    one, two = (dict(_told(_read(dataset, number))) for number in (first, second))
    return [
        Difference(*key, _text(one.get(key)), _text(two.get(key)), _change(one.get(key), two.get(key)))
        for key in dict.fromkeys([*one, *two])
        if one.get(key) != two.get(key)
    ]


def _read(dataset: str, number: int) -> Release:
    try:
        return releases.read(dataset, number)
    except Unreadable as error:
        raise Problem(409, "unservable", f"release {number} cannot be read: {error.why}") from error


def row(service: Service, number: int) -> Row:
    """One release as lists have it."""
    live = number == service.engine.live.release.number
    try:
        release = Release.read(manifest.folder(service.engine.dataset, number))
    except Unreadable as error:
        return Row(number, "unreadable", fault=error.why)
    return Row(
        number=number,
        state="live" if live else "loaded" if service.engine.find(number) else "ready",
        created=release.created,
        day=release.as_of,
        stages={model: Model(_words(stage), dict(_headline(model, stage))) for model, stage in release.stages.items()},
    )


def _headline(model: str, stage: Stage) -> Iterator[tuple[str, float]]:
    told = dict(_metrics(stage.metrics.get("test", {})))
    for name in _HEADLINES[model]:
        value = told.get(name, told.get(f"masked {name}"))
        if value is not None:
            yield name, value


def _words(stage: Stage) -> str:
    return f"{stage.backbone} {stage.framework} {stage.recipe}"


def _told(release: Release) -> Iterator[tuple[tuple[str, str], Any]]:
    """All that is compared, by group and name."""
    for name, value in _plain("", {one.name: getattr(release, one.name) for one in fields(release)}):
        yield ("release", name), value
    for model, stage in release.stages.items():
        yield (model, "reads"), ", ".join(sorted(stage.reads))
        yield (model, "run"), stage.run[:_DIGEST]
        for name, value in _plain("", {one.name: getattr(stage, one.name) for one in fields(stage)}):
            yield (model, name), value
        for name, value in _metrics(stage.metrics):
            yield (f"{model}, metrics", name), value


def _plain(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Values of nested mappings by their path in words."""
    if not isinstance(value, dict):
        yield name, value
        return
    for key, one in value.items():
        if key not in _APART:
            yield from _plain(f"{name} {key}".strip().replace("_", " "), one)


def _metrics(told: Any, name: str = "") -> Iterator[tuple[str, float]]:
    """Numbers of nested metrics by their path in words."""
    if isinstance(told, dict):
        for key, value in told.items():
            yield from _metrics(value, f"{name} {key}".strip())
    elif isinstance(told, int | float) and not isinstance(told, bool):
        yield name, float(told)


def _text(value: Any) -> str:
    return "" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)


def _change(first: Any, second: Any) -> str:
    both = isinstance(first, float) and isinstance(second, float)
    return f"{second - first:+.4f}" if both else ""


def _freshness(ws: Workspace) -> Freshness | str:
    try:
        told = registry.materialized(ws)
        filled = (registry.serving(ws) / registry.MATERIALIZED).stat().st_mtime
        return Freshness(float(told[registry.UNTIL]), filled, datasets.find(ws.dataset).live)
    except (LlmcfError, OSError) as error:
        return str(error)


def _traffic(service: Service) -> Traffic | str:
    sample = service.store.sampled(WINDOW_S)
    if sample is None:
        return "Nothing is counted yet; look again in some seconds."
    then, before = sample
    return traffic.between(before, traffic.counters(), time.time() - then)
