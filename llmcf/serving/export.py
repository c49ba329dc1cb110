"""`llmcf export`: two trained runs as a new release, tried by a canary and made live."""

import time
from collections.abc import Mapping
from pathlib import Path

from core import steps
from core.contracts import RETRIEVAL_FRAMEWORKS
from core.data.tables import remedy
from core.errors import check_choice
from core.result import Result
from core.settings import Workspace
from llmcf.serving import assemble, releases
from llmcf.serving.assemble import Choice, Made, Plan
from llmcf.serving.manifest import Release
from llmcf.serving.pruning import prune


def tower_framework(framework: str) -> str:
    """The framework of the user tower that goes with a ranker's, where none is named."""
    return "llm-cf" if "llm-cf" in framework else "none"


def export(ws: Workspace, ranker: Choice, tower: Choice, *, promote: bool = True) -> Result:
    """Make a release of two trained runs, unless the newest is just that, and with `promote` make it live.

    Raises:
        UsageError: for a run that no release can serve.
        LlmcfError: if a run or the CoT index is missing, naming the verb, or the release does not answer as its models.
    """
    check_choice("framework of the user tower", tower.framework, RETRIEVAL_FRAMEWORKS)
    choices, start = {"ranker": ranker, "user_vector": tower}, time.monotonic()
    with releases.locked():
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
        found = assemble.current(plan)
        release = found or assemble.make(plan)
        if promote:
            releases.promote(release)
            prune(ws.dataset)
    return result("export", release, skipped=found is not None, live=promote, seconds=time.monotonic() - start)


def result(verb: str, release: Release, *, skipped: bool, live: bool, seconds: float) -> Result:
    """What a verb that made a release tells of it."""
    stages = release.stages
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
            "live": live,
            **{model: f"{stage.backbone} {stage.framework} {stage.recipe}" for model, stage in stages.items()},
            "collections": release.collections,
            "inputs": {model: [tensor.name for tensor in stage.inputs] for model, stage in stages.items()},
        },
    )


def _runs(ws: Workspace, choices: Mapping[str, Choice]) -> list[str]:
    """Digests of the runs' files; raises LlmcfError for one that is missing, naming its verb."""
    places = {"ranker": ("ranking", "rank train"), "user_vector": ("retrieval", "retrieve train")}
    found = []
    for model, (stage, verb) in places.items():
        one = choices[model]
        folder = ws.path(stage, f"{one.backbone}-{one.framework}-{one.recipe}-s{one.seed}")
        found.append(steps.require(folder, f"{remedy(ws, verb)} {one.words}")["content"])
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
    return Made(**made.facts, items=(made.item_ids, made.item_vectors))
