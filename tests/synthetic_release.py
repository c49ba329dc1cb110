"""A release of invented weights with the contract's shapes: for tests of serving, and to time it before any training.

Each graph reads every input: embeddings of user, item and history, the mean of the examples' tokens, then an MLP as
wide as the ranking stage's (200-80).
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file

from core import storage
from core.contracts import ANY, RETRIEVAL_WIDTH, TRITON_MODELS, WIDTH, Tensor
from core.data import tables, vocabulary
from core.homes import home_id
from core.settings import Workspace
from ict.replica import Stored
from llmcf.serving import assemble, catalogue, manifest, releases, scorer, triton_config
from llmcf.serving.manifest import Release, Stage

SOURCE = "synthetic"  # how a release's source begins
ROWS = 2000  # of every table: ids past its end are refused
TEXT = 16  # width of text vectors
_TOKENS = 3 * WIDTH  # of one example
_HIDDEN = (200, 80)
_OPSET = 18
_TYPES = {"int64": TensorProto.INT64, "float32": TensorProto.FLOAT}


def write_release(
    ws: Workspace,
    *,
    seed: int = 0,
    bias: float = 0.0,
    collections: dict[str, str] | None = None,
    item_vectors: np.ndarray | None = None,
    examples: Stored | None = None,
    users_end: int = ROWS,
    items_end: int = ROWS,
    live: bool = True,
    encoder: str = "invented",
) -> Release:
    """Add a release of `ws`; `bias` is added to the last layers (NaN makes a release that answers NaN).

    Args:
        item_vectors: (V, E), where `collections` name examples.
        examples: what the model `score` finds; none where they are not given.
    """
    number = releases.next_number(ws.dataset)
    with releases.making(ws.dataset), releases.staged(ws.dataset, number) as folder:
        stages = {model: _stage(folder / manifest.MODELS, model, number, seed, bias) for model in TRITON_MODELS}
        vectors_VE, place = item_vectors, folder / scorer.vectors_file(number)
        if vectors_VE is None:
            vectors_VE = np.zeros((items_end, TEXT), dtype=np.float32)
        place.parent.mkdir(parents=True)
        save_file({manifest.ITEM_VECTORS: vectors_VE}, place)
        release = Release(
            number=number,
            source=f"{SOURCE}-{seed}",
            home=home_id(),
            dataset=ws.dataset,
            order=ws.order,
            as_of=ws.as_of,
            stages=stages,
            users_end=users_end,
            items_end=items_end,
            collections=collections or {},
            item_vectors="" if item_vectors is None else scorer.vectors_file(number),
            encoder=encoder,
            features={},
            created=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        )
        if ws.path("data", "items.parquet").exists():
            catalogue.write(ws, folder)
        release = replace(release, score=_scorer(ws, folder, release, examples or _no_examples()))
        release.write(folder)
    if live:
        releases.promote(release)
    return release


def pruned(dataset: str, keep: int = releases.KEEP) -> list[int]:
    """Prune as `pruning.prune` does, without Milvus, which no such release uses; the numbers that went."""
    releases.set_aside(dataset, keep)
    return releases.finish(dataset)


def _scorer(ws: Workspace, folder: Path, release: Release, examples: Stored) -> dict[str, str]:
    items = {}
    if ws.path("data", "items.parquet").exists():
        found = tables.items(ws)
        items = dict(zip(found["raw_id"].to_pylist(), found["item"].to_pylist(), strict=True))
    return scorer.write(folder, release, vocabulary.rows(ws.dataset, "users"), items, examples)


def _no_examples() -> Stored:
    none = np.zeros(1, dtype=np.int64)
    keys = np.zeros((1, 2 * TEXT), dtype=np.float32)
    return Stored(user_M=none, item_M=none, position_M=none, day_M=none, label_M=none, key_MX=keys, texts=[""])


def _stage(models: Path, model: str, number: int, seed: int, bias: float) -> Stage:
    widths = TEXT, RETRIEVAL_WIDTH  # of texts, which are inputs, and of users' vectors
    inputs, outputs = (_filled(*one) for one in zip(TRITON_MODELS[model], widths, strict=True))
    place = models / model / str(number)
    place.mkdir(parents=True)
    onnx.save(_Builder(seed).model(inputs, outputs[0], bias), place / "model.onnx")
    assemble.put_code(place)
    stage = Stage(
        framework="llm-cf",
        backbone="synthetic",
        recipe="strict",
        seed=seed,
        version=number,
        inputs=inputs,
        outputs=outputs,
        run=f"{SOURCE}-{seed}",
        sha256={"model.onnx": storage.sha256(place / "model.onnx")},
    )
    (place.parent / "config.pbtxt").write_text(triton_config.render_stage(model, stage))
    return stage


def _filled(tensors: Sequence[Tensor], width: int) -> tuple[Tensor, ...]:
    """With a width where the contract leaves it open."""
    return tuple(replace(one, shape=tuple(width if size == ANY else size for size in one.shape)) for one in tensors)


class _Builder:
    """Nodes and weights, collected one layer after the other."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []

    def model(self, inputs: Sequence[Tensor], output: Tensor, bias: float) -> onnx.ModelProto:
        parts = [self._embed(tensor) for tensor in inputs if tensor.dtype == "int64"]
        parts += [tensor.name for tensor in inputs if tensor.dtype == "float32"]
        widths = [_TOKENS if t.name == "examples" else WIDTH for t in inputs if t.dtype == "int64"]
        widths += [t.shape[0] for t in inputs if t.dtype == "float32"]
        hidden, width = self._node("Concat", parts, ("axis", 1)), sum(widths)
        for wider in _HIDDEN:
            hidden, width = self._node("Relu", [self._linear(hidden, width, wider)]), wider
        last = self._linear(hidden, width, output.shape[0] if output.shape else 1, bias)
        if output.shape:
            self._nodes.append(helper.make_node("Identity", [last], [output.name]))
        else:
            flat = self._node("Squeeze", [last, self._weight(np.array([1]))])
            self._nodes.append(helper.make_node("Sigmoid", [flat], [output.name]))
        graph = helper.make_graph(
            self._nodes, "synthetic", [_value(tensor) for tensor in inputs], [_value(output)], self._weights
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=9)
        onnx.checker.check_model(model)
        return model

    def _embed(self, tensor: Tensor) -> str:
        """Rows of a table of its own, their mean where the input is a list."""
        table = self._weight(self._normal(ROWS, _TOKENS if tensor.name == "examples" else WIDTH))
        rows = self._node("Gather", [table, tensor.name])
        return self._node("ReduceMean", [rows, self._weight(np.array([1]))], ("keepdims", 0)) if tensor.shape else rows

    def _linear(self, name: str, width: int, wider: int, bias: float = 0.0) -> str:
        weight = self._weight(self._normal(width, wider) / np.float32(np.sqrt(width)))
        return self._node("Gemm", [name, weight, self._weight(np.full(wider, bias, dtype=np.float32))])

    def _normal(self, *shape: int) -> np.ndarray:
        return self._random.standard_normal(shape, dtype=np.float32)

    def _weight(self, values: np.ndarray) -> str:
        name = f"weight_{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(values, name))
        return name

    def _node(self, kind: str, inputs: list[str], attribute: tuple[str, int] | None = None) -> str:
        name = f"{kind}_{len(self._nodes)}"
        node = helper.make_node(kind, inputs, [name])
        if attribute:
            node.attribute.append(helper.make_attribute(*attribute))
        self._nodes.append(node)
        return name


def _value(tensor: Tensor) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(tensor.name, _TYPES[tensor.dtype], ["B", *tensor.shape])
