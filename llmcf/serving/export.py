"""`llmcf export`: two trained runs as a new release, tried by a canary and made live."""

import time
from collections.abc import Mapping
from pathlib import Path

from core import steps
from core.contracts import FRAMEWORKS, RECIPES, RETRIEVAL_FRAMEWORKS
from core.data.tables import remedy
from core.errors import check_choice
from core.result import Result
from core.settings import Workspace
from llmcf.feature_store import registry
from llmcf.serving import assemble, forward, loading, releases, thresholds
from llmcf.serving.assemble import Choice, Made, Plan
from llmcf.serving.manifest import Release
from llmcf.serving.pruning import prune

_TRAINED_BY = {"ranker": ("ranking", "rank train"), "user_vector": ("retrieval", "retrieve train")}  # folder, verb


def tower_framework(framework: str) -> str:
    """The framework of the user tower that goes with a ranker's, where none is named."""
    return "llm-cf" if "llm-cf" in framework else "none"


def export(ws: Workspace, ranker: Choice, tower: Choice, *, promote: bool = True) -> Result:
    """Make a release of two trained runs, unless the newest is just that, and with `promote` make it live.

    Raises:
        UsageError: for a run that no training makes or no release can serve.
        LlmcfError: if a run, the CoT index or, with `promote`, the online store is missing, naming the verb, or the
            release does not answer as its models.
    """
    check_choices(ranker, tower)
    if promote:
        registry.materialized(ws)
    choices, start = {"ranker": ranker, "user_vector": tower}, time.monotonic()
    with releases.making(ws.dataset):
        runs = _runs(ws, choices)
        collections = assemble.example_collection(ws, choices)
        made_from = steps.Step(folder=ws.root, config=[str(ws), runs, collections], code=assemble.CODE)
        plan = Plan(
            ws=ws,
            source=made_from.key,
            choices=choices,
            write={"ranker": lambda *to: _ranker(ws, ranker, *to), "user_vector": lambda *to: _tower(ws, tower, *to)},
            collections=collections,
        )
        return released("export", plan, start, promote=promote)


def released(verb: str, plan: Plan, start: float, *, promote: bool) -> Result:
    """Make the release, unless the newest is just that, with `promote` make it live, and tell of it."""
    if promote:
        thresholds.load(plan.ws.dataset)  # whether they can be read shows before minutes of work
    found = assemble.current(plan)
    release = found or assemble.make(plan)
    loading.keep(release)
    if promote and forward.promote(release):
        prune(release.dataset)
    return _result(verb, release, skipped=found is not None, seconds=time.monotonic() - start)


def _result(verb: str, release: Release, *, skipped: bool, seconds: float) -> Result:
    stages, pointer = release.stages, releases.pointer(release.dataset)
    return Result(
        verb=verb,
        workspace=release.workspace,
        recipe=stages["ranker"].recipe,
        seed=stages["ranker"].seed,
        skipped=skipped,
        seconds=seconds,
        artifacts={"release": str(release.folder)},
        details={
            "release": release.number,
            "live": pointer is not None and pointer.release == release.number,
            **{model: f"{stage.backbone} {stage.framework} {stage.recipe}" for model, stage in stages.items()},
            "collections": release.collections,
            "blend": release.blend,
            "inputs": {model: [tensor.name for tensor in stage.inputs] for model, stage in stages.items()},
        },
    )


def check_choices(ranker: Choice, tower: Choice) -> None:
    """Raises UsageError for a run that no training makes or no release can serve."""
    from ranking import registry as rankers
    from retrieval_stage import registry as towers

    check_choice("ranker", ranker.backbone, rankers.MODELS)
    check_choice("framework", ranker.framework, FRAMEWORKS)
    check_choice("retriever", tower.backbone, towers.MODELS)
    check_choice("framework of the user tower", tower.framework, RETRIEVAL_FRAMEWORKS)
    for choice in (ranker, tower):
        check_choice("recipe", choice.recipe, RECIPES)


def run_folder(ws: Workspace, model: str, choice: Choice) -> Path:
    """Where the run is that a model of a release, `ranker` or `user_vector`, is made of."""
    run = f"{choice.backbone}-{choice.framework}-{choice.recipe}-s{choice.seed}"
    return ws.path(_TRAINED_BY[model][0], run)


def _runs(ws: Workspace, choices: Mapping[str, Choice]) -> list[str]:
    """Digests of the runs' files.

    Raises:
        Missing: for one that is missing, or older than what it was made from; names its verb.
    """
    found = []
    for model, (_, verb) in _TRAINED_BY.items():
        one = choices[model]
        made = steps.require_current(run_folder(ws, model, one), f"{remedy(ws, verb)} {one.words}")
        found.append(made["content"])
    return found


def _ranker(ws: Workspace, choice: Choice, folder: Path, kept: Path) -> Made:
    from ranking.export import export_graph
    from ranking.recipes import resolve

    named = resolve(ws, model=choice.backbone, framework=choice.framework, recipe=choice.recipe, seed=choice.seed)
    return Made(**export_graph(ws, named, folder, kept))


def _tower(ws: Workspace, choice: Choice, folder: Path, kept: Path) -> Made:
    from retrieval_stage.export import export_graph
    from retrieval_stage.recipes import resolve

    named = resolve(model=choice.backbone, framework=choice.framework, recipe=choice.recipe, seed=choice.seed)
    made = export_graph(ws, named, folder, kept)
    return Made(**made.facts, searched=made)
