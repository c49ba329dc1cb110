"""`export` of the retrieval stage: the user tower as ONNX, proved equal to the model, and the items' vectors.

Suffixes: V items, W width.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from core import steps, storage
from core.contracts import FIRST_ID, USER_VECTOR_INPUTS, USER_VECTOR_OUTPUTS
from core.settings import Workspace
from ict import onnx
from ict.neighbours import Neighbours
from retrieval_stage import weights
from retrieval_stage.configs import RetrievalConfig
from retrieval_stage.graph import UserVectorGraph
from retrieval_stage.inputs import TowerData, load
from retrieval_stage.recipes import resolve
from retrieval_stage.runs import run_folder, run_remedy, trained
from retrieval_stage.sequences import Sequences
from retrieval_stage.user_tower import UserTower, build

_CHECKED = 64  # requests on which the graph must equal the model


@dataclass(frozen=True, slots=True)
class UserVectorExport:
    """What a release holds of the retrieval stage: facts of the graph, and the items' ids (V,) and vectors (V, W)."""

    manifest: dict[str, Any]
    item_ids: np.ndarray
    item_vectors: np.ndarray


def export_onnx(ws: Workspace, *, model: str, framework: str, recipe: str, seed: int, path: Path) -> UserVectorExport:
    """Write a trained user tower to `path`; return its manifest and the item vectors that go with it.

    Raises:
        UsageError: for an unknown name.
        LlmcfError: if the model is missing or stale, or the graph does not compute what the model does.
    """
    config = trained(ws, resolve(model=model, framework=framework, recipe=recipe, seed=seed))
    data, tower = restore(ws, config)
    request = request_of(config, data.sequences, data.shown)
    with storage.atomic_path(path) as beside:
        onnx.write(UserVectorGraph(tower), request, [tensor.name for tensor in USER_VECTOR_OUTPUTS], beside)
        apart = onnx.check(beside, request, _vectors(tower, request))
    vectors = tower.item_vectors().detach().numpy().copy()
    folder = run_folder(ws, config)
    manifest = {
        "model": model,
        "framework": framework,
        "recipe": recipe,
        "seed": seed,
        "inputs": list(request),
        "outputs": [tensor.name for tensor in USER_VECTOR_OUTPUTS],
        "width": vectors.shape[1],
        "items": len(vectors),
        "examples": len(tower.context.user_M) - 1 if tower.context else 0,
        "max_difference": apart,
        "weights_sha256": storage.sha256(folder / weights.FILE),
        "metrics": steps.require(folder, run_remedy(ws, config))["summary"]["metrics"],
    }
    return UserVectorExport(manifest, np.arange(FIRST_ID, FIRST_ID + len(vectors)), vectors)


def restore(ws: Workspace, config: RetrievalConfig) -> tuple[TowerData, UserTower]:
    """The data and the model of a finished run, its examples frozen."""
    data = load(ws, config)
    tower = build(config, data)
    tower.load_state_dict(weights.read(run_folder(ws, config) / weights.FILE))
    tower.eval()
    tower.freeze_examples()
    return data, tower


def request_of(config: RetrievalConfig, sequences: Sequences, shown: Neighbours) -> dict[str, np.ndarray]:
    """Test rows as requests would bring them: the inputs that this configuration reads, in the contract's order."""
    rows = sequences.of_split("test")[:_CHECKED]
    known = {"user": sequences.user_N[rows], "history": sequences.history_NL[rows]}
    if config.uses_examples:
        known["examples"] = shown.examples_NK[rows]
        if config.in_context.use_similarity:
            known["similarity"] = shown.similarity_NK[rows]
    return {tensor.name: known[tensor.name].numpy() for tensor in USER_VECTOR_INPUTS if tensor.name in known}


@torch.no_grad()
def _vectors(tower: UserTower, request: dict[str, np.ndarray]) -> np.ndarray:
    part = {name: torch.from_numpy(values) for name, values in request.items()}
    return tower(part["user"], part["history"], part.get("examples"), part.get("similarity")).numpy()
