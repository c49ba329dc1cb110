"""`export` of the retrieval stage: a trained run as a graph folder, and what is searched with its answers."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from core import steps, storage, tensors
from core.contracts import FIRST_ID, USER_VECTOR_INPUTS, USER_VECTOR_OUTPUTS
from core.data import tables
from core.settings import Workspace
from ict import onnx
from ict.examples import ExampleSet
from ict.neighbours import Neighbours
from retrieval_stage import controls, text_map, unseen_items, weights
from retrieval_stage.blend import UNSEEN
from retrieval_stage.configs import RetrievalConfig
from retrieval_stage.graph import UserVectorGraph
from retrieval_stage.inputs import TowerData, item_texts, load
from retrieval_stage.item_space import ItemSpace
from retrieval_stage.recipes import from_json
from retrieval_stage.runs import run_folder, run_remedy, trained
from retrieval_stage.sequences import Sequences
from retrieval_stage.text_map import TextMap
from retrieval_stage.transition_graph import TransitionGraph
from retrieval_stage.user_tower import UserTower, build

_CHECKED = 64  # requests on which the graph must equal the model


@dataclass(frozen=True, slots=True, kw_only=True)
class UserVectorExport:
    """Facts of the run and its graph, and what its answers are searched with.

    Args:
        item_ids: of the items that the index holds, ascending, (V,); `item_vectors` (V, W).
        blend: weights of the evidence that is added to the tower's score, by its name; none without a blend.
        graph: the transition graph of the workspace, where it is blended in.
        text_map: what places items that came after the training, where item texts are read.
        measured_popular: whether the run was measured with popular items for users without history, which every
            release shows them.
    """

    facts: dict[str, Any]
    item_ids: np.ndarray
    item_vectors: np.ndarray
    blend: dict[str, float]
    graph: TransitionGraph | None
    text_map: TextMap | None
    measured_popular: bool

    @property
    def reads_texts(self) -> bool:
        """Whether the items' vectors are made of texts, too."""
        return bool(self.blend.get("text")) or self.text_map is not None


@dataclass(frozen=True, slots=True)
class Run:
    """A run over the data of a workspace, as a graph and an index are made of it.

    Args:
        texts_VE: the text vectors of all items of the workspace, where the configuration reads them or examples.
        text_map: under `cold_start` the run's own, which was measured; else one made for the release alone, which
            places what the tower does not know and leaves the others where they are.
    """

    tower: UserTower
    blend: dict[str, float]
    texts_VE: Tensor | None
    text_map: TextMap | None

    def as_graph(self) -> UserVectorGraph:
        text, unseen = (self.blend.get(name, 0.0) for name in ("text", UNSEEN))
        return UserVectorGraph(self.tower, text_weight=text, unseen_weight=unseen, text_VE=self.texts_VE)


def export_graph(ws: Workspace, named: RetrievalConfig, folder: Path, kept: Path) -> UserVectorExport:
    """Write the named run as a graph into `folder`, and what a refresh needs of it to `kept`.

    Raises:
        LlmcfError: if the model is missing or stale, or the graph does not compute what the model does.
    """
    config = trained(ws, named)
    path = run_folder(ws, config) / weights.FILE
    summary = steps.require(path.parent, run_remedy(ws, config))["summary"]
    data, tower = restore(ws, config)
    texts_VE = item_texts(ws, config) if config.uses_examples else data.texts_VE
    made = None
    if config.cold_start:
        made = TextMap.load(path.with_name(text_map.FILE))
    elif texts_VE is not None:
        made = unseen_items.fit(tower, data.sequences, texts_VE)
    run = Run(tower, summary["blend"], texts_VE, made)
    graph = run.as_graph()
    request = request_of(graph, data.sequences, data.shown)
    onnx.write(graph, request, graph.tables(), [tensor.name for tensor in USER_VECTOR_OUTPUTS], folder)
    onnx.check(folder / onnx.MODEL, request, _vectors(run, request))
    plain, state = tower.plain()
    about = {"config": json.dumps(asdict(plain)), "blend": json.dumps(run.blend)}
    save_file({name: values.contiguous() for name, values in state.items()}, kept, metadata=about)
    tensors.order_metadata(kept)
    facts = {"run": storage.sha256(path), "metrics": summary["metrics"], "users": len(tower.known_U)}
    return _searched(ws, run, facts, data.sequences)


def refresh_graph(ws: Workspace, kept: Path, graph: Path, folder: Path) -> UserVectorExport:
    """The graph of one folder with the examples, item texts and transitions of `ws`, into another; weights stay.

    Raises:
        LlmcfError: if an input is missing, or the graph does not compute what the module does.
    """
    run = kept_run(ws, kept)
    module = run.as_graph()
    frozen = module.tables()
    onnx.replace_tables(graph, frozen, folder)
    request = _invented(module, frozen)
    with torch.no_grad():
        expected = module({name: torch.from_numpy(values) for name, values in request.items()}, frozen).numpy()
    onnx.check(folder / onnx.MODEL, request, expected)
    return _searched(ws, run, {"users": len(run.tower.known_U)})


def restore(ws: Workspace, config: RetrievalConfig) -> tuple[TowerData, UserTower]:
    """The data and the model of a finished run, its examples frozen."""
    data = load(ws, config)
    tower = build(config, data)
    tower.load_state_dict(weights.read(run_folder(ws, config) / weights.FILE))
    tower.eval()
    if config.cold_start:
        assert data.texts_VE is not None
        unseen_items.place(tower, TextMap.load(run_folder(ws, config) / text_map.FILE), data.texts_VE)
    tower.freeze_examples()
    return data, tower


def kept_run(ws: Workspace, kept: Path) -> Run:
    """The run that `export_graph` kept, over the examples and the texts of `ws`."""
    with safe_open(kept, framework="pt") as stored:
        about = {name: json.loads(value) for name, value in stored.metadata().items()}
    config, state = from_json(about["config"]), weights.read(kept)
    items = next(values for name, values in state.items() if name.startswith("item."))
    examples = ExampleSet.load(ws, config.in_context.cot_set) if config.uses_examples else None
    tower = UserTower(config, known_U=state["known_U"], items=len(items), examples=examples)
    tower.load_state_dict(state)
    texts_VE = item_texts(ws, config) if config.reads_texts or config.uses_examples else None
    beside = kept.with_name(text_map.FILE)  # a release that was made before there was one has none
    return Run(tower.eval(), about["blend"], texts_VE, TextMap.load(beside) if beside.exists() else None)


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
    ends = {"history": "vectors_VE", "examples": "tokens_M3D"}
    most |= {name: len(frozen[table]) for name, table in ends.items() if table in frozen}
    generator = np.random.default_rng(0)
    return {
        tensor.name: generator.integers(0, most[tensor.name], (_CHECKED, *tensor.shape))
        if tensor.dtype == "int64"
        else generator.random((_CHECKED, *tensor.shape), dtype=np.float32)
        for tensor in USER_VECTOR_INPUTS
        if tensor.name in graph.reads
    }


def _searched(ws: Workspace, run: Run, facts: dict[str, Any], sequences: Sequences | None = None) -> UserVectorExport:
    """What a release searches with: items of the workspace's catalogue, the evidence."""
    ids, vectors = _items(tables.offered(ws), run)
    graph = None
    if run.blend.get("graph"):
        rows = Sequences.of(tables.training_rows(ws)) if sequences is None else sequences
        graph = TransitionGraph.of(rows, tables.items(ws).num_rows + FIRST_ID)
    return UserVectorExport(
        facts=facts,
        item_ids=ids,
        item_vectors=vectors,
        blend=run.blend,
        graph=graph,
        text_map=run.text_map,
        measured_popular=run.tower.config.cold_start,
    )


def _items(offered_X: np.ndarray, run: Run) -> tuple[np.ndarray, np.ndarray]:
    """Ids and vectors of the items that the tower knows or, under `cold_start`, has learnt; of the others by the map,
    where there is one."""
    space = ItemSpace.under(run.blend, run.text_map)
    known_VD = run.tower.item_vectors().detach().numpy()
    texts_VE = None if run.texts_VE is None else run.texts_VE.numpy()
    if run.text_map is None:
        ids = offered_X[offered_X < len(known_VD) + FIRST_ID]
        return ids, space.learnt(known_VD[ids - FIRST_ID], None if texts_VE is None else texts_VE[ids])
    assert texts_VE is not None
    learnt_X = offered_X < len(known_VD) + FIRST_ID
    if run.tower.config.cold_start:
        learnt_X &= run.text_map.learnt(offered_X)
    found_XW = space.place(texts_VE[offered_X])
    ids = offered_X[learnt_X]
    found_XW[learnt_X] = space.learnt(known_VD[ids - FIRST_ID], texts_VE[ids])
    return offered_X, found_XW


@torch.no_grad()
def _vectors(run: Run, request: dict[str, np.ndarray]) -> np.ndarray:
    """What the graph must answer, out of the parts that the run was measured with."""
    part = {name: torch.from_numpy(values) for name, values in request.items()}
    parts = [run.tower(part["user"], part["history"], part.get("examples"), part.get("similarity"))]
    if weight := run.blend.get("text"):
        assert run.texts_VE is not None
        parts.append(weight * controls.last_text(run.texts_VE, part["history"]))
    if weight := run.blend.get(UNSEEN):
        parts.append(torch.full((len(parts[0]), 1), weight))
    return torch.cat(parts, dim=1).numpy()
