"""`export` of the ranking stage: a trained run as ONNX, proved equal to the model. Suffixes: B rows."""

from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from core import steps, storage
from core.contracts import RANKER_INPUTS, RANKER_OUTPUTS
from core.settings import Workspace
from ict import onnx
from ranking import weights
from ranking.batch import BatchBuilder
from ranking.configs import RankerConfig
from ranking.graph import RankerGraph
from ranking.inputs import load
from ranking.loop import predict
from ranking.ranker import Ranker, build
from ranking.recipes import resolve
from ranking.runs import run_folder, run_remedy, trained

_CHECKED = 100  # rows on which the graph must equal the model


def export_onnx(ws: Workspace, *, model: str, framework: str, recipe: str, seed: int, path: Path) -> dict[str, Any]:
    """Write a trained run as ONNX to `path` and return its manifest: names, inputs, counts, metrics.

    Raises:
        UsageError: for an unknown name.
        LlmcfError: if the run is missing or older than its inputs, or the graph does not compute what the model does.
    """
    config = trained(ws, resolve(ws, model=model, framework=framework, recipe=recipe, seed=seed))
    batches, ranker = restore(ws, config)
    examples = batches.context.examples.count if batches.context else 0
    served = RankerGraph(ranker, batches).eval()
    rows = batches.rows.of_split("test")[:_CHECKED]
    request = request_of(batches, config, rows)
    with storage.atomic_path(path) as beside:
        onnx.write(served, request, [tensor.name for tensor in RANKER_OUTPUTS], beside)
        onnx.check(beside, request, predict(ranker, batches, rows))
    return {
        "model": model,
        "framework": framework,
        "recipe": recipe,
        "seed": seed,
        "inputs": list(request),
        "outputs": [tensor.name for tensor in RANKER_OUTPUTS],
        "examples": examples,
        "checked_rows": len(rows),
        "metrics": steps.require(run_folder(ws, config), run_remedy(ws, config))["summary"]["metrics"],
    }


def restore(ws: Workspace, config: RankerConfig) -> tuple[BatchBuilder, Ranker]:
    """The data and the model of a finished run."""
    batches, shape = load(ws, config)
    ranker = build(config, shape)
    path = run_folder(ws, config) / weights.FILE
    ranker.load_state_dict(weights.read(path, weights.manifest(ws, config, shape)))
    return batches, ranker.eval()


def request_of(batches: BatchBuilder, config: RankerConfig, at_B: Tensor) -> dict[str, np.ndarray]:
    """Training rows as a request would bring them: the inputs that its configuration reads, in the contract's order."""
    requests = batches.rows.requests
    known = {
        "user": requests.user_B[at_B],
        "item": requests.item_B[at_B],
        "history": requests.history_BL[at_B],
    }
    if config.dense:
        known["dense"] = batches.rows.dense_NJ[at_B]
    if batches.context is not None:
        known["examples"] = batches.context.neighbours.examples_NK[at_B]
        if config.in_context.use_similarity:
            known["similarity"] = batches.context.neighbours.similarity_NK[at_B]
    return {tensor.name: known[tensor.name].numpy() for tensor in RANKER_INPUTS if tensor.name in known}
