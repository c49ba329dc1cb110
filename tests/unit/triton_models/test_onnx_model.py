"""The Triton model file, under a stand-in for the module that only exists inside Triton."""

import importlib.util
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from core.settings import PROJECT
from tests.triton_stub import Response, Tensor, TritonError

TABLE = np.arange(10, dtype=np.float32) * 10


@dataclass
class Session:
    """Counts the runs of the real session."""

    real: Any
    batches: list[int] = field(default_factory=list)

    def run(self, outputs: list[str], feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        self.batches.append(len(feed["id"]))
        return self.real.run(outputs, feed)


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`score = table[id] + weight`, loaded from a version folder as Triton would."""
    nodes = [
        helper.make_node("Gather", ["table", "id"], ["row"]),
        helper.make_node("Add", ["row", "weight"], ["score"]),
    ]
    inputs = [("id", TensorProto.INT64), ("weight", TensorProto.FLOAT)]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(name, kind, ["B"]) for name, kind in inputs],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["B"])],
        [numpy_helper.from_array(TABLE, "table")],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), tmp_path / "model.onnx"
    )
    shutil.copy(PROJECT / "triton_models" / "onnx_model.py", tmp_path / "model.py")
    utilities: Any = ModuleType("triton_python_backend_utils")
    utilities.Tensor, utilities.TritonError, utilities.InferenceResponse = Tensor, TritonError, Response
    utilities.get_input_tensor_by_name = lambda request, name: Tensor(name, request[name])
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", utilities)
    spec = importlib.util.spec_from_file_location("triton_model", tmp_path / "model.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    loaded = module.TritonPythonModel()
    loaded.initialize({})
    loaded.session = Session(loaded.session)
    return loaded


def request(*ids: int, weight: float = 0.5) -> dict[str, np.ndarray]:
    """One that also carries an input the graph does not declare."""
    return {"id": np.array(ids), "weight": np.full(len(ids), weight, dtype=np.float32), "unread": np.zeros(len(ids))}


def scores(response: Response) -> list[float]:
    assert response.error is None
    assert [tensor.name for tensor in response.tensors] == ["score"]
    return response.tensors[0].values.tolist()


def test_all_requests_are_one_run_and_each_gets_its_rows(model: Any) -> None:
    responses = model.execute([request(1, 2), request(3), request(0, 9, 4)])
    assert [scores(response) for response in responses] == [[10.5, 20.5], [30.5], [0.5, 90.5, 40.5]]
    assert model.session.batches == [6]


def test_a_request_the_graph_fails_on_gets_an_error_and_the_others_their_scores(model: Any) -> None:
    good, bad, last = model.execute([request(1), request(10), request(2)])
    assert (scores(good), scores(last)) == ([10.5], [20.5])
    assert "out of data bounds" in bad.error.message


@pytest.mark.parametrize("bad", [request(-1), request(1, weight=float("inf"))])
def test_a_request_that_is_wrong_in_itself_never_reaches_the_graph(model: Any, bad: dict[str, np.ndarray]) -> None:
    refused, good = model.execute([bad, request(2)])
    assert "not negative" in refused.error.message or "not finite" in refused.error.message
    assert scores(good) == [20.5]
    assert model.session.batches == [1]


def test_only_wrong_requests_give_only_errors(model: Any) -> None:
    assert [response.error is not None for response in model.execute([request(-1), request(-2)])] == [True, True]
