"""Releases: the same number under every model of the Triton repository, with a manifest of what it was made from.

A release is whole or not there: a run killed between the models' folders leaves numbers that differ, which nothing
serves, and the next export takes a new number.
"""

import dataclasses
import json
import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core import settings, storage
from core.contracts import TRITON_MODELS
from core.data.tables import remedy
from core.errors import LlmcfError, Missing
from core.settings import PROJECT, Workspace
from llmcf.serving import triton_config

KEEP = 3  # releases, so that one can be rolled back to: remove the folders of the newest
_MANIFEST = "manifest.json"
_MODEL_CODE = PROJECT / "triton_models" / "onnx_model.py"


@dataclass(frozen=True, slots=True)
class Graph:
    """An ONNX file, whole in itself, and what its exporter says of it."""

    path: Path
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """What every manifest of a release says.

    `source` is a digest of the trained models and collections; `backbones` names them by Triton model, `collections`
    the Milvus versions that the models' tables were taken from, by kind.
    """

    number: int
    source: str
    dataset: str
    order: str
    as_of: str
    framework: str
    recipe: str
    seed: int
    backbones: dict[str, str]
    collections: dict[str, str]
    created: str

    @property
    def workspace(self) -> Workspace:
        return Workspace(self.dataset, self.order, self.as_of)


def numbers(repository: Path, model: str) -> list[int]:
    """The versions of `model`, oldest first."""
    folder = repository / model
    names = [path.name for path in folder.iterdir() if path.name.isdigit()] if folder.is_dir() else []
    return sorted(map(int, names))


def newest(repository: Path) -> Release | None:
    """The release that Triton would serve, or None if there is none or it is not whole."""
    last = {tuple(numbers(repository, model)[-1:]) for model in TRITON_MODELS}
    if len(last) != 1 or not (only := last.pop()):
        return None
    try:
        made = {model: manifest(repository, model, only[0]) for model in TRITON_MODELS}
        fields = [field.name for field in dataclasses.fields(Release)]
        first, *others = ({name: made[model][name] for name in fields} for model in TRITON_MODELS)
    except (FileNotFoundError, json.JSONDecodeError, KeyError):
        return None
    return Release(**first) if all(other == first for other in others) else None


def require(ws: Workspace) -> Release:
    """The newest release, which must be of `ws`.

    Raises:
        LlmcfError: if there is none, or it is of another workspace; names the verb.
    """
    release = newest(settings.triton_models())
    if release is None:
        raise Missing(f"{settings.triton_models()} holds no whole release", remedy(ws, "export"))
    if release.workspace != ws:
        other = release.workspace
        raise Missing(
            f"release {release.number} is of {other.dataset} {other.order} {other.as_of}, not of {ws.dataset} "
            f"{ws.order} {ws.as_of}",
            remedy(ws, "export"),
        )
    return release


def manifest(repository: Path, model: str, number: int) -> dict[str, Any]:
    """The manifest of one model of a release; `inputs` names what its graph reads."""
    return storage.read_json(repository / model / str(number) / _MANIFEST)


def next_number(repository: Path) -> int:
    return 1 + max((number for model in TRITON_MODELS for number in numbers(repository, model)), default=0)


def add(repository: Path, release: Release, graphs: Mapping[str, Graph]) -> None:
    """Copy the graph of each model into a new release: both beside their places first, then one rename each.

    Raises:
        LlmcfError: if a graph does not keep to the contract; the repository is left as it was.
    """
    triton_config.write(repository)
    _remove_leftovers(repository)
    with ExitStack() as folders:
        for model in TRITON_MODELS:
            folder = folders.enter_context(storage.atomic_folder(repository / model / str(release.number)))
            _fill(folder, model, release, graphs[model])


def prune(repository: Path) -> None:
    """Remove all but the last `KEEP` versions of each model."""
    for model in TRITON_MODELS:
        for number in numbers(repository, model)[:-KEEP]:
            shutil.rmtree(repository / model / str(number))


def _fill(folder: Path, model: str, release: Release, graph: Graph) -> None:
    path = folder / "model.onnx"
    shutil.copyfile(graph.path, path)
    shutil.copyfile(_MODEL_CODE, folder / "model.py")
    facts = {"model": model, "inputs": check_graph(path, model), "sha256": storage.sha256(path)}
    storage.write_json(folder / _MANIFEST, {**dataclasses.asdict(release), **facts, "export": dict(graph.facts)})


def check_graph(path: Path, model: str) -> list[str]:
    """The names of the inputs that the graph reads.

    Raises:
        LlmcfError: if its inputs are not among the contract's, or its outputs are not exactly them.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    inputs, outputs = TRITON_MODELS[model]
    allowed = {(tensor.name, tensor.dtype, tensor.shape) for tensor in inputs}
    wanted = {(tensor.name, tensor.dtype, tensor.shape) for tensor in outputs}
    declared, answered = (
        {(tensor.name, _dtype(tensor.type), tuple(tensor.shape[1:])) for tensor in tensors}
        for tensors in (session.get_inputs(), session.get_outputs())
    )
    if not declared <= allowed or answered != wanted:
        wrong = sorted(map(str, (declared - allowed) | (answered ^ wanted)))
        raise LlmcfError(f"the exported {model} does not keep to core.contracts: {'; '.join(wrong)}")
    return [tensor.name for tensor in session.get_inputs()]


def _dtype(onnx_type: str) -> str:
    return {"tensor(int64)": "int64", "tensor(float)": "float32"}.get(onnx_type, onnx_type)


def _remove_leftovers(repository: Path) -> None:
    for model in TRITON_MODELS:
        for left_over in (repository / model).glob(".*.tmp"):  # of a killed run
            shutil.rmtree(left_over)
