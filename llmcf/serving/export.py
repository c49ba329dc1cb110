"""`llmcf export`: both trained models as ONNX in a new Triton release, their item vectors in Milvus.

The item vectors go first: whoever serves the last release goes on with the collection that its manifest names.
"""

import logging
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock

from core import settings, steps, storage
from core.data.tables import remedy
from core.progress import say
from core.result import Result
from core.settings import PROJECT, Workspace
from llmcf.serving import releases
from llmcf.serving.releases import Graph, Release

_CODE = ("triton_models/onnx_model.py", "ranking/export.py", "retrieval_stage/export.py")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportConfig:
    """Which trained runs become a release: `model` ranks, `retrieval_model` makes the user vector."""

    model: str = "deepfm"
    retrieval_model: str = "sasrec"
    framework: str = "llm-cf"
    recipe: str = "strict"
    seed: int = 1

    @property
    def backbones(self) -> dict[str, str]:
        return {"ranker": self.model, "user_vector": self.retrieval_model}


def export(ws: Workspace, *, model: str, retrieval_model: str, framework: str, recipe: str, seed: int) -> Result:
    """Make a release of two trained runs, unless the newest release is just that.

    Raises:
        LlmcfError: if a run or the CoT index is missing, naming the verb, or a graph does not answer as the model.
    """
    config = ExportConfig(model=model, retrieval_model=retrieval_model, framework=framework, recipe=recipe, seed=seed)
    repository, start = settings.triton_models(), time.monotonic()
    settings.home().mkdir(parents=True, exist_ok=True)
    with FileLock(settings.home() / ".export.lock"):
        collections = _example_collection(ws, config)
        source = _source(ws, config, collections)
        release = _current(ws, repository, source)
        skipped = release is not None
        if release is None:
            release = _make(ws, config, repository, source, collections)
    folders = {name: repository / name / str(release.number) for name in config.backbones}
    made = {name: releases.manifest(repository, name, release.number) for name in folders}
    return Result(
        verb="export",
        workspace=ws,
        recipe=recipe,
        seed=seed,
        skipped=skipped,
        seconds=time.monotonic() - start,
        artifacts={name: str(folder) for name, folder in folders.items()},
        details={
            "release": release.number,
            "framework": framework,
            **release.backbones,
            "collections": release.collections,
            "inputs": {name: facts["inputs"] for name, facts in made.items()},
        },
    )


def _example_collection(ws: Workspace, config: ExportConfig) -> dict[str, str]:
    """The CoT collection whose numbers the graphs' tables carry, brought up to date first."""
    if config.framework == "none":
        return {}
    from ict.index import index

    return {"cot": index(ws).details["collection"]}


def _source(ws: Workspace, config: ExportConfig, collections: dict[str, str]) -> str:
    """Digest of all that a release is made from."""
    runs = {
        "ranking": ("rank train", config.model),
        "retrieval": ("retrieve train", config.retrieval_model),
    }
    made = []
    for stage, (verb, model) in runs.items():
        folder = ws.path(stage, f"{model}-{config.framework}-{config.recipe}-s{config.seed}")
        choice = f"--model {model} --framework {config.framework} --recipe {config.recipe} --seed {config.seed}"
        made.append(steps.require(folder, f"{remedy(ws, verb)} {choice}")["content"])
    code = [storage.sha256(PROJECT / name) for name in _CODE]
    return storage.digest(str(ws), config.backbones, made, collections, code)


def _current(ws: Workspace, repository: Path, source: str) -> Release | None:
    """The newest release if it was made from `source` and Milvus still holds its item vectors."""
    from ict import milvus
    from retrieval_stage.items import KIND

    release = releases.newest(repository)
    if release is None or release.source != source:
        return None
    with milvus.connect(ws) as client:
        return release if release.collections["items"] in milvus.versions(client, ws, KIND) else None


def _make(ws: Workspace, config: ExportConfig, repository: Path, source: str, collections: dict[str, str]) -> Release:
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it warns of every library that is not installed
    with tempfile.TemporaryDirectory(dir=settings.home(), prefix=".export.") as scratch:
        say(f"exporting {config.model} as ranker")
        ranker = Graph(Path(scratch, "ranker.onnx"), _export_ranker(ws, config, Path(scratch, "ranker.onnx")))
        say(f"exporting {config.retrieval_model} as user_vector")
        user_vector, items = _export_user_vector(ws, config, Path(scratch, "user_vector.onnx"))
        release = Release(
            number=releases.next_number(repository),
            source=source,
            dataset=ws.dataset,
            order=ws.order,
            as_of=ws.as_of,
            framework=config.framework,
            recipe=config.recipe,
            seed=config.seed,
            backbones=config.backbones,
            collections={**collections, "items": items},
            created=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        )
        releases.add(repository, release, {"ranker": ranker, "user_vector": user_vector})
    releases.prune(repository)
    return release


def _export_ranker(ws: Workspace, config: ExportConfig, path: Path) -> dict[str, Any]:
    from ranking.export import export_onnx

    return export_onnx(
        ws, model=config.model, framework=config.framework, recipe=config.recipe, seed=config.seed, path=path
    )


def _export_user_vector(ws: Workspace, config: ExportConfig, path: Path) -> tuple[Graph, str]:
    """The graph, and the collection that its item vectors were published as."""
    from retrieval_stage import items
    from retrieval_stage.export import export_onnx

    made = export_onnx(
        ws, model=config.retrieval_model, framework=config.framework, recipe=config.recipe, seed=config.seed, path=path
    )
    return Graph(path, made.manifest), items.publish(ws, made.item_ids, made.item_vectors)
