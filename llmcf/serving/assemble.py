"""Putting a release together: graphs, names, item vectors, manifest; a Triton server answers before it has a number.

Whatever is killed on the way leaves at most a staging folder and an unnamed collection, which the next run removes.
"""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core import steps, storage
from core.contracts import TRITON_MODELS, Tensor
from core.data import tables, vocabulary
from core.data.tables import remedy
from core.errors import LlmcfError, Missing
from core.homes import home_id
from core.progress import say
from core.settings import PROJECT, Workspace
from llmcf.feature_store import registry
from llmcf.serving import catalogue, held, manifest, releases, scorer, triton_config
from llmcf.serving.manifest import Release, Stage
from llmcf.serving.triton_client import canary
from llmcf.serving.triton_server import run_triton

if TYPE_CHECKING:
    from retrieval_stage.export import UserVectorExport

_MODEL_CODE = PROJECT / "triton_models" / "onnx_model.py"
# What writes a release; the runs have stamps of their own.
CODE = (
    *(f"core/{name}.py" for name in ("metrics", "tensors")),
    *(f"core/data/{name}.py" for name in ("dated", "histories", "texts", "vocabulary")),
    *("ict", "ranking", "retrieval_stage", "triton_models/onnx_model.py", "triton_models/score_model.py"),
    *(f"llmcf/serving/{name}.py" for name in ("assemble", "catalogue", "manifest", "refresh", "scorer")),
    "llmcf/serving/triton_config.py",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which trained run a stage serves."""

    backbone: str
    framework: str
    recipe: str
    seed: int

    @property
    def reads_examples(self) -> bool:
        return "llm-cf" in self.framework

    @property
    def words(self) -> str:
        """As the options of the verb that trains it."""
        return f"--model {self.backbone} --framework {self.framework} --recipe {self.recipe} --seed {self.seed}"


@dataclass(frozen=True, slots=True)
class Made:
    """What writing a graph told: digest of its run, its metrics, the users it knows; of a tower, what is searched."""

    run: str
    metrics: dict[str, Any]
    users: int
    searched: "UserVectorExport | None" = None


Write = Callable[[Path, Path], Made]  # (graph folder, file for what a refresh needs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A release to be made: of which workspace, out of what, by whom each graph is written."""

    ws: Workspace
    source: str
    choices: Mapping[str, Choice]
    write: Mapping[str, Write]
    collections: Mapping[str, str]
    refreshed: int | None = None


def example_collection(ws: Workspace, choices: Mapping[str, Choice]) -> dict[str, str]:
    """The CoT collection whose numbers the graphs' tables carry, brought up to date first; none where none reads it."""
    if not any(choice.reads_examples for choice in choices.values()):
        return {}
    from ict.index import index

    return {"cot": index(ws).details["collection"]}


def current(plan: Plan) -> Release | None:
    """The newest release of the data set, if it was made from the same, is whole and Milvus holds what goes with it."""
    from ict import milvus

    release = releases.newest(plan.ws.dataset)
    if release is None or release.source != plan.source or release.home != home_id():
        return None
    if path := release.damaged():
        say(f"{path} is not as it was made: release {release.number} is made anew")
        return None
    with milvus.connect(plan.ws) as client:
        try:
            held.require(client, release)
        except Missing as error:
            say(f"{error.args[0]}: it is made anew")
            return None
    return release


def make(plan: Plan) -> Release:
    """Write the release beside its place, let a Triton server answer with it, and give it its number.

    Raises:
        LlmcfError: if an input is missing, a graph breaks the contract, Milvus lost a collection meanwhile, or the
            canary fails; nothing is released.
    """
    number, contents = releases.next_number(plan.ws.dataset), _contents(plan.ws)  # before anything is read
    with releases.staged(plan.ws.dataset, number) as folder:
        (folder / manifest.TRAINED).mkdir()
        made = {model: _graph(plan, model, number, folder) for model in TRITON_MODELS}
        release = _release(plan, number, folder, made, contents)
        held.check(release)
        catalogue.write(plan.ws, folder)
        release = replace(release, score=_scorer(plan.ws, folder, release))
        release.write(folder)
        say(f"trying release {number} on a Triton server")
        with run_triton(folder / manifest.MODELS) as server:
            canary(server, folder / manifest.MODELS, release.stages)
    return release


def _graph(plan: Plan, model: str, number: int, folder: Path) -> tuple[Stage, Made]:
    choice = plan.choices[model]
    say(f"writing {choice.backbone} ({choice.framework}) as {model}")
    place = folder / manifest.MODELS / model / str(number)
    place.mkdir(parents=True)
    made = plan.write[model](place, folder / manifest.TRAINED / f"{model}.safetensors")
    put_code(place)
    inputs, outputs = declared(place / "model.onnx", model)
    stage = Stage(
        framework=choice.framework,
        backbone=choice.backbone,
        recipe=choice.recipe,
        seed=choice.seed,
        version=number,
        inputs=inputs,
        outputs=outputs,
        run=made.run,
        metrics=made.metrics,
        sha256={path.name: storage.sha256(path) for path in sorted(place.iterdir()) if path.suffix},
    )
    config = triton_config.render_stage(model, stage)
    (place.parent / "config.pbtxt").write_text(config, encoding="utf-8")
    return stage, made


def put_code(place: Path) -> None:
    """The Python backend's model into a version's folder.

    Python would write compiled code beside it, and a server that polls the folder would take that for a new model: a
    file of that name stops it.
    """
    shutil.copyfile(_MODEL_CODE, place / "model.py")
    (place / "__pycache__").touch()


def _contents(ws: Workspace) -> dict[Path, str]:
    """Digests of the folders that a release may be made of beside its runs, as far as they are there."""
    folders = (ws.path("data"), ws.path("training"), ws.cot("vectors"), ws.path("kar", "vectors"))
    return {folder: steps.content_of(folder) for folder in folders if (folder / steps.STAMP).exists()}


def _release(
    plan: Plan, number: int, folder: Path, made: Mapping[str, tuple[Stage, Made]], contents: Mapping[Path, str]
) -> Release:
    from ranking.weights import encoder

    ws, stages = plan.ws, {model: stage for model, (stage, _) in made.items()}
    ((searched, run),) = [(one.searched, one.run) for _, one in made.values() if one.searched is not None]
    texts = texts_of(ws, stages, searched=searched.reads_texts)
    encoders = {name: encoder(*place) for name, place in texts.items()}
    read = [ws.path("data"), *([ws.path("training")] if searched.blend.get("graph") else [])]
    read += [place for place, _ in texts.values()]
    return Release(
        number=number,
        source=plan.source,
        home=home_id(),
        dataset=ws.dataset,
        order=ws.order,
        as_of=ws.as_of,
        stages=stages,
        users_end=min(one.users for _, one in made.values()),
        items_end=int(tables.items(ws)["item"].to_numpy().max()) + 1,
        collections={**plan.collections, "items": _publish_items(ws, searched, run)},
        item_vectors=_keep_item_vectors(ws, folder, number) if "cot" in plan.collections else "",
        encoder=encoders.get("encoder", ""),
        knowledge_encoder=encoders.get("knowledge_encoder", ""),
        features={name: registry.release(ws)[name] for name in ("project", "repo")},
        created=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        refreshed=plan.refreshed,
        blend=searched.blend,
        evidence=_keep_evidence(searched, folder),
        strangers=manifest.POPULAR if searched.measured_popular else manifest.POPULAR_UNMEASURED,
        inputs={steps.name_of(place): contents[place] for place in read if place in contents},
    )


def texts_of(ws: Workspace, stages: Mapping[str, Stage], *, searched: bool) -> dict[str, tuple[Path, str]]:
    """The text vectors that tables are made of: folder and remedy, by the manifest's field that names their encoder.

    Args:
        searched: whether item search compares texts, too.
    """
    found, read = {}, frozenset().union(*(stage.reads for stage in stages.values()))
    if searched or read & {"examples", "text"}:
        verb = "cot embed" if "examples" in read else "cot embed --items-only"
        found["encoder"] = ws.cot("vectors"), remedy(ws, verb)
    if any(stage.framework == "kar" for stage in stages.values()):
        found["knowledge_encoder"] = ws.path("kar", "vectors"), remedy(ws, "kar embed")
    return found


def _publish_items(ws: Workspace, searched: "UserVectorExport", run: str) -> str:
    """The item vectors of a run, with the encoder of the texts in them, "" where there are none."""
    from ict.index import encoder
    from retrieval_stage import items

    origin = {"run": run, "encoder": encoder(ws) if searched.reads_texts else ""}
    facts = items.Facts.of(ws, searched.item_ids)
    return items.publish(ws, searched.item_ids, searched.item_vectors, facts, origin=origin)


def _keep_evidence(searched: "UserVectorExport", folder: Path) -> dict[str, str]:
    """What item search reads beside the collection, in the release: digests by file."""
    from retrieval_stage import transition_graph

    parts = {transition_graph.FILE: searched.graph, manifest.TEXT_MAP: searched.text_map}
    kept = {name: part for name, part in parts.items() if part is not None}
    for name, part in kept.items():
        part.save(folder / name)
    return {name: storage.sha256(folder / name) for name in kept}


def _keep_item_vectors(ws: Workspace, folder: Path, number: int) -> str:
    """A copy of the items' text vectors, which examples are found by, in the release."""
    from safetensors.torch import save_file

    from ict.examples import text_vectors

    vectors, place = text_vectors(ws, remedy(ws, "cot embed")), scorer.vectors_file(number)
    (folder / place).parent.mkdir(parents=True)
    save_file({manifest.ITEM_VECTORS: vectors["items"].contiguous()}, folder / place)
    return place


def _scorer(ws: Workspace, folder: Path, release: Release) -> dict[str, str]:
    """The model that needs no library of ours, with the examples as the service will read them."""
    from ict import milvus
    from ict.replica import Stored

    stored, items = None, tables.items(ws)
    if "examples" in release.stages["ranker"].reads:
        with milvus.connect(ws) as client:
            stored = Stored.read(milvus.Collection.open(client, release.collections["cot"]))
    rows = dict(zip(items["raw_id"].to_pylist(), items["item"].to_pylist(), strict=True))
    return scorer.write(folder, release, vocabulary.rows(ws.dataset, "users"), rows, stored)


def declared(path: Path, model: str) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """The inputs and outputs of a graph, in the contract's order, with the widths that the contract leaves open.

    Raises:
        LlmcfError: if its inputs are not among the contract's, or its outputs are not exactly them.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found = []
    for allowed, stated in zip(TRITON_MODELS[model], (session.get_inputs(), session.get_outputs()), strict=True):
        by_name = {tensor.name: (_dtype(tensor.type), tuple(tensor.shape[1:])) for tensor in stated}
        kept = tuple(_filled(tensor, by_name) for tensor in allowed if tensor.name in by_name)
        if wrong := sorted(set(by_name) - {tensor.name for tensor in kept if tensor.dtype}):
            raise LlmcfError(f"the exported {model} does not keep to core.contracts: {', '.join(wrong)}")
        found.append(kept)
    inputs, outputs = found
    if len(outputs) != len(TRITON_MODELS[model][1]):
        raise LlmcfError(f"the exported {model} does not keep to core.contracts: an output is missing")
    return inputs, outputs


def _filled(tensor: Tensor, stated: Mapping[str, tuple[str, tuple[int, ...]]]) -> Tensor:
    """The contract's tensor with the graph's widths where it leaves them open; without a type if the two disagree."""
    dtype, shape = stated[tensor.name]
    fits = len(shape) == len(tensor.shape) and all(
        wanted in (-1, width) for wanted, width in zip(tensor.shape, shape, strict=True)
    )
    return replace(tensor, shape=shape, dtype=tensor.dtype if fits and dtype == tensor.dtype else "")


def _dtype(onnx_type: str) -> str:
    return {"tensor(int64)": "int64", "tensor(float)": "float32"}.get(onnx_type, onnx_type)
