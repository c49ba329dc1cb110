"""`export` of the retrieval stage: a trained run as a graph folder, and the item vectors to search with its answers."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from core import steps, storage
from core.contracts import FIRST_ID, USER_VECTOR_INPUTS, USER_VECTOR_OUTPUTS
from core.data import tables
from core.settings import Workspace
from ict import onnx
from ict.examples import ExampleSet
from retrieval_stage import weights
from retrieval_stage.graph import UserVectorGraph
from retrieval_stage.objective import Shown
from retrieval_stage.recipes import RetrievalConfig
from retrieval_stage.runs import train_remedy, train_step, trained
from retrieval_stage.sequences import Sequences
from retrieval_stage.user_tower import UserTower

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
    rows = tables.training_rows(ws)
    sequences, examples = Sequences.of(rows), weights.example_set(ws, config, rows)
    tower = weights.load(ws, config, sequences, examples)
    graph = UserVectorGraph(tower)
    request = request_of(graph, sequences, weights.shown_examples(ws, config, sequences, rows, examples))
    onnx.write(graph, request, graph.tables(), [tensor.name for tensor in USER_VECTOR_OUTPUTS], folder)
    onnx.check(folder / onnx.MODEL, request, _vectors(tower, request))
    step = train_step(ws, config)
    save_file(load_file(step.folder / weights.WEIGHTS), kept, metadata={"config": json.dumps(asdict(config))})
    facts = {
        "run": storage.sha256(step.folder / weights.WEIGHTS),
        "metrics": steps.require(step.folder, train_remedy(ws, config))["summary"]["metrics"],
        "users": len(tower.known_U),
    }
    return UserVectorExport(facts, *_items(ws, tower))


def refresh_graph(ws: Workspace, kept: Path, graph: Path, folder: Path) -> UserVectorExport:
    """The graph of one folder with the examples and the item texts of `ws`, into another; the weights stay.

    Raises:
        LlmcfError: if an input is missing, or the graph does not compute what the module does.
    """
    tower = restore(ws, kept)
    module = UserVectorGraph(tower)
    frozen = module.tables()
    onnx.replace_tables(graph, frozen, folder)
    request = _invented(module, frozen)
    with torch.no_grad():
        expected = module({name: torch.from_numpy(values) for name, values in request.items()}, frozen).numpy()
    onnx.check(folder / onnx.MODEL, request, expected)
    return UserVectorExport({"users": len(tower.known_U)}, *_items(ws, tower))


def restore(ws: Workspace, kept: Path) -> UserTower:
    """The tower that `export_graph` kept, over the examples of `ws`."""
    with safe_open(kept, framework="pt") as stored:
        stated = json.loads(stored.metadata()["config"])
    state, config = load_file(kept), RetrievalConfig(**stated)
    items = next(values for name, values in state.items() if name.startswith("item."))
    examples = ExampleSet.load(ws) if config.framework == "llm-cf" else None
    tower = UserTower(config, known_U=state["known_U"], items=len(items), examples=examples)
    tower.load_state_dict(state)
    return tower.eval()


def request_of(graph: UserVectorGraph, sequences: Sequences, shown: Shown) -> dict[str, np.ndarray]:
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
    """Ids and vectors of the workspace's items that the tower has learnt."""
    ids = tables.items(ws)["item"].to_numpy()
    ids = ids[ids < tower.item.weight.shape[0]]
    vectors = tower.item_vectors().detach().numpy()
    return ids, vectors[ids - FIRST_ID].copy()


@torch.no_grad()
def _vectors(tower: UserTower, request: dict[str, np.ndarray]) -> np.ndarray:
    part = {name: torch.from_numpy(values) for name, values in request.items()}
    return tower(part["user"], part["history"], part.get("examples"), part.get("similarity")).numpy()
