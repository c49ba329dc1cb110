"""`export` of the retrieval stage: a trained run as a graph folder, and the item vectors to search with its answers."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from core import steps, storage
from core.contracts import FIRST_ID, USER_VECTOR_INPUTS, USER_VECTOR_OUTPUTS
from core.data import tables
from core.settings import Workspace
from ict import onnx
from ict.examples import ExampleSet
from ict.neighbours import Neighbours
from retrieval_stage import weights
from retrieval_stage.configs import RetrievalConfig
from retrieval_stage.graph import UserVectorGraph
from retrieval_stage.inputs import TowerData, load
from retrieval_stage.recipes import from_json
from retrieval_stage.runs import run_folder, run_remedy, trained
from retrieval_stage.sequences import Sequences
from retrieval_stage.user_tower import UserTower, build

_CHECKED = 64  # requests on which the graph must equal the model


@dataclass(frozen=True, slots=True)
class UserVectorExport:
    """Facts of the run and its graph, and the vectors of the items that it learnt: ids (V,), vectors (V, W)."""

    facts: dict[str, Any]
    item_ids: np.ndarray
    item_vectors: np.ndarray


def export_graph(ws: Workspace, named: RetrievalConfig, folder: Path, kept: Path) -> UserVectorExport:
    """Write the named run as a graph into `folder`, and what a refresh needs of it to `kept`.

    Raises:
        LlmcfError: if the model is missing or stale, or the graph does not compute what the model does.
    """
    config = trained(ws, named)
    data, tower = restore(ws, config)
    graph = UserVectorGraph(tower)
    request = request_of(graph, data.sequences, data.shown)
    onnx.write(graph, request, graph.tables(), [tensor.name for tensor in USER_VECTOR_OUTPUTS], folder)
    onnx.check(folder / onnx.MODEL, request, _vectors(tower, request))
    path = run_folder(ws, config) / weights.FILE
    save_file(weights.read(path), kept, metadata={"config": json.dumps(asdict(config))})
    facts = {
        "run": storage.sha256(path),
        "metrics": steps.require(path.parent, run_remedy(ws, config))["summary"]["metrics"],
        "users": len(tower.known_U),
    }
    return UserVectorExport(facts, *_items(ws, tower))


def refresh_graph(ws: Workspace, kept: Path, graph: Path, folder: Path) -> UserVectorExport:
    """The graph of one folder with the examples and the item texts of `ws`, into another; the weights stay.

    Raises:
        LlmcfError: if an input is missing, or the graph does not compute what the module does.
    """
    tower = kept_run(ws, kept)
    module = UserVectorGraph(tower)
    frozen = module.tables()
    onnx.replace_tables(graph, frozen, folder)
    request = _invented(module, frozen)
    with torch.no_grad():
        expected = module({name: torch.from_numpy(values) for name, values in request.items()}, frozen).numpy()
    onnx.check(folder / onnx.MODEL, request, expected)
    return UserVectorExport({"users": len(tower.known_U)}, *_items(ws, tower))


def restore(ws: Workspace, config: RetrievalConfig) -> tuple[TowerData, UserTower]:
    """The data and the model of a finished run, its examples frozen."""
    data = load(ws, config)
    tower = build(config, data)
    tower.load_state_dict(weights.read(run_folder(ws, config) / weights.FILE))
    tower.eval()
    tower.freeze_examples()
    return data, tower


def kept_run(ws: Workspace, kept: Path) -> UserTower:
    """The tower that `export_graph` kept, over the examples of `ws`."""
    with safe_open(kept, framework="pt") as stored:
        config = from_json(json.loads(stored.metadata()["config"]))
    state = weights.read(kept)
    items = next(values for name, values in state.items() if name.startswith("item."))
    examples = ExampleSet.load(ws) if config.uses_examples else None
    tower = UserTower(config, known_U=state["known_U"], items=len(items), examples=examples)
    tower.load_state_dict(state)
    return tower.eval()


def request_of(graph: UserVectorGraph, sequences: Sequences, shown: Neighbours) -> dict[str, np.ndarray]:
    """Test rows as requests would bring them: the inputs that the graph reads, in the contract's order."""
    rows = sequences.of_split("test")[:_CHECKED]
    known = {
        "user": sequences.user_N[rows],
        "history": sequences.history_NL[rows],
        "examples": shown.examples_NK[rows],
        "similarity": shown.similarity_NK[rows],
    }
    return {tensor.name: known[tensor.name].numpy() for tensor in USER_VECTOR_INPUTS if tensor.name in graph.reads}


def _invented(graph: UserVectorGraph, frozen: dict[str, Tensor]) -> dict[str, np.ndarray]:
    """Requests of any valid numbers, what is newer than the weights among them."""
    most = {"user": len(graph.tower.known_U) + 1, "history": graph.tower.item.weight.shape[0]}
    if "tokens_M3D" in frozen:
        most |= {"history": len(frozen["vectors_VE"]), "examples": len(frozen["tokens_M3D"])}
    generator = np.random.default_rng(0)
    return {
        tensor.name: generator.integers(0, most[tensor.name], (_CHECKED, *tensor.shape))
        if tensor.dtype == "int64"
        else generator.random((_CHECKED, *tensor.shape), dtype=np.float32)
        for tensor in USER_VECTOR_INPUTS
        if tensor.name in graph.reads
    }


def _items(ws: Workspace, tower: UserTower) -> tuple[np.ndarray, np.ndarray]:
    """Ids and vectors of the items of the workspace's catalogue that the tower has learnt."""
    ids = tables.offered(ws)
    ids = ids[ids < tower.item.weight.shape[0]]
    vectors = tower.item_vectors().detach().numpy()
    return ids, vectors[ids - FIRST_ID].copy()


@torch.no_grad()
def _vectors(tower: UserTower, request: dict[str, np.ndarray]) -> np.ndarray:
    part = {name: torch.from_numpy(values) for name, values in request.items()}
    return tower(part["user"], part["history"], part.get("examples"), part.get("similarity")).numpy()
