"""`llmcf release refresh`: today's items, examples and transitions with the weights of an earlier release.

The paper's periodic updates: a new CoT index, what is known of items and what followed what reach users without
training. Users and items that came after the training stay UNKNOWN to the weights, in histories too. Where the release
has a map from texts into the tower's space (LLM-CF, or recipe `best`), item search finds such an item by its text;
otherwise not before a retrieval model that knows it is exported. The ranker scores it by its brand, categories and
text.
"""

import time
from dataclasses import replace
from pathlib import Path

from core import steps
from core.data.tables import remedy
from core.errors import LlmcfError, Missing, UsageError
from core.result import Result
from core.settings import LATEST, Workspace
from llmcf.feature_store import registry
from llmcf.serving import assemble, manifest, releases
from llmcf.serving.assemble import Choice, Made, Plan
from llmcf.serving.export import released
from llmcf.serving.manifest import Release


def refresh(base: Release, ws: Workspace, *, promote: bool = True) -> Result:
    """Freeze the items and examples of `ws`, and what a blend adds, with the weights of `base`; `promote` this one.

    Raises:
        UsageError: if `ws` is of another data set, or of an earlier day than the weights.
        Missing: if it lacks something, or has texts of another encoder, or with `promote` an online store that was
            never filled; names the verb.
    """
    _check(base, ws)
    if promote:
        registry.materialized(ws)
    start = time.monotonic()
    with releases.making(ws.dataset):
        releases.read(base.dataset, base.number)  # it may have been removed while this waited
        choices = {
            model: Choice(backbone=one.backbone, framework=one.framework, recipe=one.recipe, seed=one.seed)
            for model, one in base.stages.items()
        }
        collections = assemble.example_collection(ws, choices)
        read = [folder for folder, _ in _texts(base, ws).values()]
        read += [ws.path("training")] if base.blend.get("graph") else []
        made_from = steps.Step(
            folder=ws.root,
            config=[str(ws), {model: stage.run for model, stage in base.stages.items()}, collections],
            inputs=[ws.path("data", "items.parquet"), *read],
            code=assemble.CODE,
        )
        plan = Plan(
            ws=ws,
            source=made_from.key,
            choices=choices,
            write={"ranker": lambda *to: _ranker(base, ws, *to), "user_vector": lambda *to: _tower(base, ws, *to)},
            collections=collections,
            refreshed=base.number,
        )
        return released("release refresh", plan, start, promote=promote)


def _check(base: Release, ws: Workspace) -> None:
    if base.dataset != ws.dataset:
        raise UsageError(
            f"release {base.number} is of {base.dataset}, whose numbers mean other items than {ws.dataset}'s"
        )
    if _later(base.as_of, ws.as_of):
        raise UsageError(
            f"release {base.number} learnt from the data as of {base.as_of}, later than --as-of {ws.as_of}: with the "
            "items and examples of an earlier day it would know what came after it; name a later day"
        )
    if not ws.path("data", "items.parquet").exists():
        raise Missing(f"{ws.root} holds no items", remedy(ws, "data prepare"))
    if base.blend.get("graph"):
        steps.require(ws.path("training"), remedy(ws, "features join"))
    for name, place in _texts(base, ws).items():
        _check_encoder(base, getattr(base, name), *place)


def _texts(base: Release, ws: Workspace) -> dict[str, tuple[Path, str]]:
    return assemble.texts_of(ws, base.stages, searched=base.searches_texts)


def _check_encoder(base: Release, known: str, folder: Path, remedy: str) -> None:
    """Vectors of another encoder mean something else to the weights."""
    from ranking.weights import encoder

    found = encoder(folder, remedy)
    if not known:
        raise LlmcfError(
            f"release {base.number} does not say which encoder made the texts that it reads, as releases did not once; "
            f"export its runs anew and refresh that one"
        )
    if known != found:
        what = f"release {base.number} reads texts of {known}, and those of {folder} are of {found}"
        raise Missing(what, f"{remedy} --encoder {known.split('@')[0]}")


def _later(one: str, other: str) -> bool:
    """Whether an as-of is later than another; `latest` is later than every day."""
    return other != LATEST and (one == LATEST or one > other)


def _ranker(base: Release, ws: Workspace, folder: Path, kept: Path) -> Made:
    from ranking.export import refresh_graph

    graph, trained = _of(base, "ranker")
    made = Made(run=base.stages["ranker"].run, metrics={}, **refresh_graph(ws, trained, graph, folder))
    return _kept(made, base, "ranker", trained, kept)


def _tower(base: Release, ws: Workspace, folder: Path, kept: Path) -> Made:
    from retrieval_stage.export import refresh_graph

    graph, trained = _of(base, "user_vector")
    found = refresh_graph(ws, trained, graph, folder)
    made = Made(run=base.stages["user_vector"].run, metrics={}, searched=found, **found.facts)
    return _kept(made, base, "user_vector", trained, kept)


def _of(base: Release, model: str) -> tuple[Path, Path]:
    """The graph's folder, and what was kept of its run."""
    graph = base.models / model / str(base.stages[model].version)
    return graph, base.folder / manifest.TRAINED / f"{model}.safetensors"


def _kept(made: Made, base: Release, model: str, trained: Path, kept: Path) -> Made:
    """The run goes along, so that a refreshed release can be refreshed in turn; its metrics stay the run's."""
    kept.write_bytes(trained.read_bytes())
    return replace(made, metrics=base.stages[model].metrics)
