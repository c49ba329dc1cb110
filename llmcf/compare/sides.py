"""What is compared: a run, a release with its two runs, or a day of a data set, found by the name that a user gives."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core import settings, steps
from core.data import kept, tables
from core.errors import Missing, UsageError
from core.settings import LATEST, Workspace
from llmcf.lineage import home
from llmcf.lineage.graph import Graph, Node
from llmcf.lineage.home import Place
from llmcf.serving import releases
from llmcf.serving.manifest import WEIGHTS, Stage

STAGES = {"ranker": "ranking", "retrieval model": "retrieval"}  # by the kind of a node
_TABLES = {"data": ("data",), "training rows": ("training",)}
_DAY = re.compile(rf"\d{{4}}-\d\d-\d\d|{LATEST}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A trained run. `stage` is its folder in the workspace: ranking or retrieval."""

    stage: str
    folder: Path
    ws: Workspace
    stamp: Mapping[str, Any]

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def metrics(self) -> dict[str, dict[str, Any]]:
        """Of each split, as the run measured them."""
        return self.stamp["summary"]["metrics"]

    @property
    def rows(self) -> str:
        """Digest of the training rows that it read; "" of a stamp that does not say."""
        return self.stamp.get("inputs", {}).get(steps.name_of(self.ws.path("training")), "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of the two things that are compared.

    Args:
        config: what it was made with.
        runs: its runs, by what a table calls them; the runs of two sides that have one title are a pair.
        measured: by the same titles, the metrics of the runs, of those that are gone, too.
        notes: what a reader must know.
        source: digest of a release; "" of others.
    """

    name: str
    kind: str
    ws: Workspace
    config: Mapping[str, Any]
    runs: Mapping[str, Run]
    measured: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    source: str = ""

    def data(self) -> dict[str, Any]:
        """Counts of its workspace and digests of its tables as they are now; of what is gone, nothing."""
        found: dict[str, Any] = {}
        stamp = steps.Step(folder=self.ws.path("data"), config=None).stamp()
        if stamp:
            summary = stamp["summary"]
            found = {name: summary[name] for name in ("interactions", "users", "items", "offered") if name in summary}
            found |= {f"rows {split}": count for split, count in summary.get("rows", {}).items()}
            intake = summary.get("intake", {})
            found |= {name.replace("_", " "): intake[name] for name in ("first_day", "last_day") if name in intake}
        for name, parts in {**_TABLES, "texts": ("cot", "texts"), "text vectors": ("cot", "vectors")}.items():
            made = steps.Step(folder=self.ws.path(*parts), config=None).stamp()
            if made:
                found[f"digest of {name}"] = made["content"][:12]
        return found


def pair(first: str, second: str, place: Place) -> tuple[Side, Side]:
    """Both sides.

    Raises:
        UsageError: for a name that nothing or several things have, for what cannot be compared, for one thing twice,
            or for two things of different kinds or data sets.
        Missing: if a run or a day is not there.
    """
    graph = home.read()
    sides = _side(graph, first, place), _side(graph, second, place)
    one, other = sides
    if one.kind != other.kind:
        raise UsageError(f"{first} is a {one.kind} and {second} a {other.kind}; compare two of a kind")
    if one.ws.dataset != other.ws.dataset:
        raise UsageError(f"{first} is of {one.ws.dataset} and {second} of {other.ws.dataset}: no row is in both")
    if one.name == other.name:
        raise UsageError(f"{first} and {second} are both {one.name}; name two things")
    return sides


def runs_of(ws: Workspace) -> list[Run]:
    """The finished runs of a workspace, those of the ranking stage first."""
    found = []
    for stage in STAGES.values():
        for folder in sorted(ws.path(stage).glob("[!.]*")):
            if made := steps.Step(folder=folder, config=None).stamp():
                found.append(Run(stage=stage, folder=folder, ws=ws, stamp=made))
    return found


def _side(graph: Graph, asked: str, place: Place) -> Side:
    if _DAY.fullmatch(asked):
        return _day(asked, place)
    node = graph.nodes[home.find(graph, asked, place)]
    if not node.there:
        raise Missing(f"{node.id} is not there", node.verb or "llmcf demo")
    if node.kind in STAGES:
        return _run_side(graph, node)
    if node.kind in ("release", "live release"):
        return _release(graph, node)
    raise UsageError(
        f"{asked!r} is {node.id}, {node.kind}; what can be compared: runs of rank train and retrieve train, "
        "releases (release:2), and days (2026-01-31, latest)"
    )


def _run_of(node: Node) -> Run:
    assert node.path is not None
    ws = Workspace(*node.place)
    return Run(stage=STAGES[node.kind], folder=node.path, ws=ws, stamp=steps.require(node.path, node.verb))


def _run_side(graph: Graph, node: Node) -> Side:
    run = _run_of(node)
    title = {"ranking": "ranker", "retrieval": "retrieval model"}[run.stage]
    return Side(
        name=node.id,
        kind=node.kind,
        ws=run.ws,
        config=dict(run.stamp["config"]),
        runs={title: run},
        measured={title: run.metrics},
        notes=_stale(graph, node),
    )


def _release(graph: Graph, node: Node) -> Side:
    """A release with those of its runs that are still there, just as they were when it was made."""
    one = releases.read(node.place[0], int(node.id.rsplit("/", 1)[1]))
    runs, notes = {}, list(_stale(graph, node))
    titles = {"ranker": "ranker", "user_vector": "user tower"}
    for model, stage in one.stages.items():
        if run := _with_weights(graph, stage):
            runs[titles[model]] = _run_of(run)
        else:
            notes.append(f"{node.id}: the {titles[model]}'s run is gone, or was trained again: figures without a test")
    config: dict[str, Any] = {
        model: {name: getattr(stage, name) for name in ("backbone", "framework", "recipe", "seed")}
        for model, stage in one.stages.items()
    }
    config |= {f"{titles[model].replace(' ', '_')}_run": dict(run.stamp["config"]) for model, run in _named(runs)}
    kept_of = ("order", "as_of", "blend", "encoder", "knowledge_encoder", "refreshed", "collections", "features")
    config |= {name: getattr(one, name) for name in kept_of}
    measured = {titles[model]: stage.metrics for model, stage in one.stages.items() if stage.metrics}
    return Side(
        name=node.id,
        kind="release",
        ws=one.workspace,
        config=config,
        runs=runs,
        measured=measured,
        notes=tuple(notes),
        source=one.source,
    )


def _with_weights(graph: Graph, stage: Stage) -> Node | None:
    """The run that a graph's weights are of, wherever it is."""
    runs = [one for one in graph.nodes.values() if one.kind in STAGES and one.id.endswith(f"/{stage.run_name}")]
    return next((one for one in runs if graph.digest(one.id, part=WEIGHTS) == stage.run), None)


def _named(runs: Mapping[str, Run]) -> list[tuple[str, Run]]:
    by_title = {"ranker": "ranker", "user tower": "user_vector"}
    return [(by_title[title], run) for title, run in runs.items()]


def _day(asked: str, place: Place) -> Side:
    """A workspace with all its finished runs."""
    ws = _workspace(asked, place)
    stamp = steps.require(ws.path("data"), tables.remedy(ws, "data prepare"))
    runs = {f"{run.stage}/{run.name}": run for run in runs_of(ws)}
    return Side(
        name="/".join((ws.dataset, ws.order, ws.as_of)),
        kind="day",
        ws=ws,
        config=dict(stamp["config"]),
        runs=runs,
        measured={title: run.metrics for title, run in runs.items()},
    )


def _workspace(asked: str, place: Place) -> Workspace:
    dataset, order, _ = place
    if dataset is None:
        there = sorted({path.parents[2].name for path in settings.home().glob(f"[!.]*/*/{asked}/data")})
        if len(there) != 1:
            listed = ", ".join(there) or "no data set"
            raise UsageError(f"{asked} is a day of {listed}; --dataset says of which")
        dataset = there[0]
    return Workspace(dataset, order or kept.default_order(dataset), asked)


def _stale(graph: Graph, node: Node) -> tuple[str, ...]:
    state = graph.state(node.id)
    return (f"{node.id} is stale: {'; '.join(state.why)}",) if state.word == "stale" else ()
