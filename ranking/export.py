"""`export` of the ranking stage: a trained run as a graph folder, proved equal to the model. Suffixes: B rows."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from core import steps, storage, tensors
from core.contracts import CATEGORIES, RANKER_INPUTS, RANKER_OUTPUTS, UNKNOWN
from core.data import tables
from core.data.tables import remedy
from core.errors import UsageError
from core.settings import Workspace
from ict import onnx
from ict.examples import ExampleSet, text_vectors
from ranking import weights
from ranking.bags import ItemFields
from ranking.batch import BatchBuilder
from ranking.configs import RankerConfig
from ranking.graph import Facts, RankerGraph
from ranking.inputs import load
from ranking.layers import Sizes
from ranking.loop import predict
from ranking.ranker import Ranker, Shape, attends, build
from ranking.recipes import from_json
from ranking.rows import Knowledge
from ranking.runs import run_folder, run_remedy, trained

_CHECKED = 100  # rows on which the graph must equal the model


def export_graph(ws: Workspace, named: RankerConfig, folder: Path, kept: Path) -> dict[str, Any]:
    """Write the named run as a graph into `folder`, and what a refresh needs of it to `kept`; return its facts.

    Raises:
        UsageError: for a run that no release can serve.
        LlmcfError: if the run is missing or older than its inputs, or the graph does not compute what the model does.
    """
    config = servable(trained(ws, named))
    batches, ranker, shape = restore(ws, config)
    graph, facts = served(ranker, config), facts_of(ws, config)
    rows = batches.rows.of_split("test")[:_CHECKED]
    request = request_of(graph, batches, rows, facts.text_width)
    onnx.write(graph, request, graph.tables(facts), [tensor.name for tensor in RANKER_OUTPUTS], folder)
    onnx.check(folder / onnx.MODEL, request, predict(ranker, batches, rows))
    run = run_folder(ws, config)
    stated = {"config": json.dumps(asdict(config)), "shape": json.dumps(asdict(shape))}
    save_file(load_file(run / weights.FILE), kept, metadata=stated)
    tensors.order_metadata(kept)
    return {
        "run": storage.sha256(run / weights.FILE),
        "metrics": steps.require(run, run_remedy(ws, config))["summary"]["metrics"],
        "users": shape.tables.user,
    }


def refresh_graph(ws: Workspace, kept: Path, graph: Path, folder: Path) -> dict[str, Any]:
    """The graph of one folder with the catalogue and the examples of `ws`, into another; the weights stay.

    Raises:
        LlmcfError: if an input is missing, or the graph does not compute what the module does.
    """
    config, shape, ranker = kept_run(kept)
    module = served(ranker, config)
    facts = facts_of(ws, config)
    frozen = module.tables(facts)
    onnx.replace_tables(graph, frozen, folder)
    request = invented_request(module, facts)
    with torch.no_grad():
        expected = module({name: torch.from_numpy(values) for name, values in request.items()}, frozen).numpy()
    onnx.check(folder / onnx.MODEL, request, expected)
    return {"users": shape.tables.user}


def servable(config: RankerConfig) -> RankerConfig:
    """Raises UsageError for a run whose examples are not the main set's, which alone is indexed and served, or that
    reads what no request brings."""
    if config.sequence:
        raise UsageError(
            f"{config.name} reads a sequence model's dated scores, which no request brings; choose another"
        )
    if config.uses_examples and config.in_context.cot_set:
        raise UsageError(
            f"{config.name} learnt from the chains of thought of set {config.in_context.cot_set!r}, and a release "
            "serves the main set; train it where that set is not there, or choose recipe strict or best"
        )
    return config


def restore(ws: Workspace, config: RankerConfig) -> tuple[BatchBuilder, Ranker, Shape]:
    """The data and the model of a finished run, and its sizes."""
    batches, shape = load(ws, config)
    ranker = build(config, shape)
    path = run_folder(ws, config) / weights.FILE
    ranker.load_state_dict(weights.read(path, weights.manifest(ws, config, shape)))
    return batches, ranker.eval(), shape


def kept_run(kept: Path) -> tuple[RankerConfig, Shape, Ranker]:
    """What `export_graph` kept of a run."""
    with safe_open(kept, framework="pt") as stored:
        stated = stored.metadata()
    sizes = json.loads(stated["shape"])
    config, shape = from_json(json.loads(stated["config"])), Shape(**{**sizes, "tables": Sizes(**sizes["tables"])})
    ranker = build(config, shape)
    ranker.load_state_dict(load_file(kept))
    return config, shape, ranker.eval()


def served(ranker: Ranker, config: RankerConfig) -> RankerGraph:
    return RankerGraph(ranker, attends=attends(config), text_match=config.text_match).eval()


def facts_of(ws: Workspace, config: RankerConfig) -> Facts:
    """What a release freezes of a workspace for a model of `config`.

    Raises:
        LlmcfError: if an input is missing, or the texts are older than the catalogue; names the verb.
    """
    items = ItemFields.of(tables.items(ws))
    examples = knowledge = vectors_VE = None
    if config.uses_examples:
        examples = ExampleSet.load(ws)
        vectors_VE = examples.item_vectors_VE
    elif config.text_match:
        vectors_VE = text_vectors(ws, remedy(ws, "cot embed --items-only"))["items"]
    if config.uses_knowledge:
        knowledge = _knowledge(ws, len(items.brand_V))
    return Facts(items=items, item_vectors_VE=vectors_VE, examples=examples, knowledge=knowledge)


def request_of(graph: RankerGraph, batches: BatchBuilder, at_B: Tensor, text_width: int) -> dict[str, np.ndarray]:
    """Training rows as a request would bring them: the inputs that the graph reads, in the contract's order."""
    requests, count = batches.rows.requests, len(at_B)
    known = {
        "user": requests.user_B[at_B],
        "item": requests.item_B[at_B],
        "history": requests.history_BL[at_B],
        "dense": batches.rows.dense_NJ[at_B],
        "brand": torch.zeros(count, dtype=torch.int64),
        "categories": torch.zeros(count, CATEGORIES, dtype=torch.int64),
        "text": torch.zeros(count, text_width),
    }
    if batches.context is not None:
        known["examples"] = batches.context.neighbours.examples_NK[at_B]
        known["similarity"] = batches.context.neighbours.similarity_NK[at_B]
    return {tensor.name: known[tensor.name].numpy() for tensor in RANKER_INPUTS if tensor.name in graph.reads}


def invented_request(graph: RankerGraph, facts: Facts) -> dict[str, np.ndarray]:
    """Requests of any valid numbers, UNKNOWN items and what is newer than the weights among them."""
    items = len(facts.items.brand_V)
    most = {
        "user": len(graph.fields.weights["user"]),
        "item": items,
        "history": items,
        "examples": 0 if facts.examples is None else facts.examples.count + 1,
        "brand": int(facts.items.brand_V.max()) + 1,
        "categories": int(facts.items.categories_VC.max()) + 1,
    }
    generator = np.random.default_rng(0)
    width = {"text": (facts.text_width,)}
    request = {}
    for tensor in RANKER_INPUTS:
        if tensor.name in graph.reads:
            shape = (_CHECKED, *width.get(tensor.name, tensor.shape))
            whole = tensor.dtype == "int64"
            request[tensor.name] = (
                generator.integers(0, most[tensor.name], shape) if whole else generator.random(shape, dtype=np.float32)
            )
    request["item"][::2] = UNKNOWN
    return request


def _knowledge(ws: Workspace, items: int) -> Knowledge:
    """KAR's texts, padded to the vocabulary of today: who came later has none."""
    folder = ws.path("kar", "vectors")
    steps.require(folder, remedy(ws, "kar embed"))
    stored = load_file(folder / "vectors.safetensors")
    users = int(tables.users(ws)["user"].to_numpy().max()) + 1
    more_users, more_items = users - len(stored["user"]), items - len(stored["item"])
    return Knowledge(
        F.pad(stored["user"], (0, 0, 0, max(more_users, 0))),
        F.pad(stored["item"], (0, 0, 0, max(more_items, 0))),
        F.pad(stored["prefix"].long(), (0, max(more_users, 0)), value=-1),
    )
