"""The graph of a user tower, of every backbone: it gives the model's vectors at any batch."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from core.contracts import FIRST_ID, USER_VECTOR_OUTPUTS
from ict import onnx
from ict.examples import Requests
from ict.neighbours import NeighbourConfig, Neighbours, search_exact
from retrieval_stage import controls
from retrieval_stage.export import request_of
from retrieval_stage.graph import UserVectorGraph
from retrieval_stage.item_space import ItemSpace
from retrieval_stage.recipes import resolve
from retrieval_stage.registry import MODELS
from retrieval_stage.sequences import Sequences
from retrieval_stage.user_tower import UserTower
from tests import in_memory

USERS, ITEMS = 12, 40
ROWS = in_memory.training_rows(users=USERS, items=ITEMS, length=30)
SEQUENCES = Sequences.of(ROWS)


def made(model: str, framework: str = "llm-cf") -> tuple[UserTower, Neighbours]:
    """A tower with fresh weights that reads all there is, and the examples of every positive."""
    examples = in_memory.example_set(ROWS, items=ITEMS)
    config = replace(resolve(model=model, framework=framework, recipe="best", seed=1), width=16)
    found = search_exact(examples, Requests.of(ROWS), NeighbourConfig(stage="retrieval", recipe="best", seed=1))
    torch.manual_seed(1)
    known = torch.ones(USERS + FIRST_ID, dtype=torch.bool)
    shown, facts = examples if framework == "llm-cf" else None, in_memory.item_facts(items=ITEMS)
    tower = UserTower(config, known_U=known, items=ITEMS + FIRST_ID, examples=shown, facts=facts).eval()
    tower.freeze_examples()
    return tower, Neighbours(*(values[SEQUENCES.row_N] for values in found))


@pytest.mark.parametrize("model", MODELS)
def test_it_gives_the_models_vectors_at_any_batch(model: str, tmp_path: Path) -> None:
    tower, shown = made(model)
    graph = UserVectorGraph(tower)
    request = request_of(graph, SEQUENCES, shown)
    onnx.write(graph, request, graph.tables(), [tensor.name for tensor in USER_VECTOR_OUTPUTS], tmp_path)
    session = onnxruntime.InferenceSession(tmp_path / onnx.MODEL, providers=["CPUExecutionProvider"])
    rows = SEQUENCES.of_split("test")
    early = torch.nonzero(SEQUENCES.position_N < 3).flatten()  # histories of none to two items
    for index_B in (rows[:1], rows[:7], early[:1], early[:7]):
        parts = {"user": SEQUENCES.user_N, "history": SEQUENCES.history_NL}
        parts |= {"examples": shown.examples_NK, "similarity": shown.similarity_NK}
        with torch.no_grad():
            expected_BD = tower(*(values[index_B] for values in parts.values()))
        asked = {name: parts[name][index_B].numpy() for name in request}
        found_BD = np.asarray(session.run(None, asked)[0])
        np.testing.assert_allclose(found_BD, expected_BD.numpy(), atol=onnx.TOLERANCE)
        assert np.isfinite(found_BD).all()


@pytest.mark.parametrize("framework", ["none", "llm-cf"])
def test_its_vector_goes_on_with_what_is_blended_in(framework: str, tmp_path: Path) -> None:
    tower, shown = made("sasrec", framework)
    texts_VE = in_memory.item_vectors(ITEMS)
    graph = UserVectorGraph(tower, text_weight=3.0, unseen_weight=0.5, text_VE=texts_VE)
    request = request_of(graph, SEQUENCES, shown)
    onnx.write(graph, request, graph.tables(), [tensor.name for tensor in USER_VECTOR_OUTPUTS], tmp_path)
    session = onnxruntime.InferenceSession(tmp_path / onnx.MODEL, providers=["CPUExecutionProvider"])
    index_B = torch.cat([SEQUENCES.of_split("test"), torch.nonzero(SEQUENCES.position_N == 0).flatten()])
    parts = {"user": SEQUENCES.user_N, "history": SEQUENCES.history_NL}
    parts |= {"examples": shown.examples_NK, "similarity": shown.similarity_NK}
    found_BW = np.asarray(session.run(None, {name: parts[name][index_B].numpy() for name in request})[0])
    with torch.no_grad():
        vector_BD = tower(*(values[index_B] for values in parts.values()))
    space = ItemSpace.under({"text": 3.0, "unseen": 0.5}, None)
    offered_VW = space.learnt(tower.item_vectors().detach().numpy(), texts_VE[FIRST_ID:].numpy())
    expected_BV = vector_BD @ tower.item_vectors().T + 3 * controls.text(SEQUENCES, texts_VE)(index_B)
    np.testing.assert_allclose(found_BW @ offered_VW.T, expected_BV.detach().numpy(), atol=1e-4)
    assert (found_BW[:, -1] == 0.5).all()
    assert (found_BW[SEQUENCES.position_N[index_B].numpy() == 0, 16:-1] == 0).all(), "no item before, no text"
