"""The user tower as ONNX, and the item vectors that its user vectors are searched against.

TorchRec modules export at a fixed batch only, so the tables become nn.Embedding first. The tokens of all examples sit
in the graph: a request brings example numbers, nothing else of them.
"""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from core import steps, storage
from core.contracts import FIRST_ID, UNKNOWN, USER_VECTOR_INPUTS, USER_VECTOR_OUTPUTS
from core.data import tables
from core.settings import Workspace
from ict import onnx
from retrieval_stage import weights
from retrieval_stage.embeddings import DenseTable, Table
from retrieval_stage.objective import Shown
from retrieval_stage.recipes import RetrievalConfig, resolve
from retrieval_stage.runs import train_remedy, train_step, trained
from retrieval_stage.sequences import Sequences
from retrieval_stage.user_tower import UserTower

_CHECKED = 64  # requests on which the graph must equal the model


@dataclass(frozen=True, slots=True)
class UserVectorExport:
    """What a release holds of the retrieval stage: facts of the graph, and the items' ids (V,) and vectors (V, W)."""

    manifest: dict[str, Any]
    item_ids: np.ndarray
    item_vectors: np.ndarray


class UserVectorGraph(nn.Module):
    """A copy of a trained tower over plain tables; takes the `contracts.USER_VECTOR_INPUTS` that it reads."""

    def __init__(self, tower: UserTower) -> None:
        super().__init__()
        self.tower = copy.deepcopy(tower)
        for name, table in (("user", tower.user), ("item", tower.item)):
            assert isinstance(table, Table)
            self.tower.set_submodule(name, DenseTable(table, UNKNOWN))
        self.eval()

    def forward(
        self, user: Tensor, history: Tensor, examples: Tensor | None = None, similarity: Tensor | None = None
    ) -> Tensor:
        """Return user vectors, (B, W)."""
        return self.tower(user, history, examples, similarity)


def export_onnx(ws: Workspace, *, model: str, framework: str, recipe: str, seed: int, path: Path) -> UserVectorExport:
    """Write a trained user tower to `path`; return its manifest and the item vectors that go with it.

    Raises:
        UsageError: for an unknown name.
        LlmcfError: if the model is missing or stale, or the graph does not compute what the model does.
    """
    config = trained(ws, resolve(model=model, framework=framework, recipe=recipe, seed=seed))
    rows = tables.training_rows(ws)
    sequences, examples = Sequences.of(rows), weights.example_set(ws, config, rows)
    tower = weights.load(ws, config, sequences, examples)
    request = request_of(config, sequences, weights.shown_examples(ws, config, sequences, rows, examples))
    with storage.atomic_path(path) as beside:
        onnx.write(UserVectorGraph(tower), request, [tensor.name for tensor in USER_VECTOR_OUTPUTS], beside)
        apart = onnx.check(beside, request, _vectors(tower, request))
    vectors = tower.item_vectors().detach().numpy().copy()
    step = train_step(ws, config)
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
        "weights_sha256": storage.sha256(step.folder / weights.WEIGHTS),
        "metrics": steps.require(step.folder, train_remedy(ws, config))["summary"]["metrics"],
    }
    return UserVectorExport(manifest, np.arange(FIRST_ID, FIRST_ID + len(vectors)), vectors)


def request_of(config: RetrievalConfig, sequences: Sequences, shown: Shown) -> dict[str, np.ndarray]:
    """Test rows as requests would bring them: the inputs that this configuration reads, in the contract's order."""
    rows = sequences.of_split("test")[:_CHECKED]
    known = {"user": sequences.user_N[rows], "history": sequences.history_NL[rows]}
    if config.framework == "llm-cf":
        known["examples"] = shown.examples_NK[rows]
        if config.use_similarity:
            known["similarity"] = shown.similarity_NK[rows]
    return {tensor.name: known[tensor.name].numpy() for tensor in USER_VECTOR_INPUTS if tensor.name in known}


@torch.no_grad()
def _vectors(tower: UserTower, request: dict[str, np.ndarray]) -> np.ndarray:
    part = {name: torch.from_numpy(values) for name, values in request.items()}
    return tower(part["user"], part["history"], part.get("examples"), part.get("similarity")).numpy()
