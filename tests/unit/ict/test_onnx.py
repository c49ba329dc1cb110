"""Graphs with their tables beside them: read back, replaced, and refused where they compute something else."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx as library
import onnxruntime
import pytest
import torch
from safetensors.numpy import load_file
from torch import Tensor, nn

from core.errors import LlmcfError
from ict import onnx


def table(rows: int) -> dict[str, Tensor]:
    return {"rows_VW": torch.arange(rows * 400.0).reshape(rows, 2, 200) / 1e5}


class Scaled(nn.Module):
    """weight . table[id], shifted by what the request says."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.arange(400.0) / 400)
        self.register_buffer("frozen_VW", table(5)["rows_VW"])

    def forward(self, request: Mapping[str, Tensor], tables: Mapping[str, Tensor]) -> Tensor:
        return (tables["rows_VW"].flatten(1)[request["id"]] * self.weight).sum(dim=1) + request["shift"]


def of_module(module: Scaled) -> dict[str, Tensor]:
    """A table that is a buffer of the module as well, as the tokens of a user tower are."""
    return {"rows_VW": module.get_buffer("frozen_VW")}


REQUEST = {"id": np.array([0, 4, 2]), "shift": np.array([0.5, 0.0, -1.0], dtype=np.float32)}


def expected(tables: dict[str, Tensor], request: dict[str, np.ndarray]) -> np.ndarray:
    module = Scaled()
    with torch.no_grad():
        return module({name: torch.from_numpy(values) for name, values in request.items()}, tables).numpy()


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    folder = tmp_path / "graph"
    folder.mkdir()
    onnx.write(Scaled().eval(), REQUEST, table(5), ["score"], folder)
    return folder


def test_weights_and_tables_lie_beside_the_graph_as_safetensors(graph: Path) -> None:
    assert {path.name for path in graph.iterdir()} == {onnx.MODEL, onnx.WEIGHTS, onnx.TABLES}
    np.testing.assert_array_equal(load_file(graph / onnx.TABLES)["rows_VW"], table(5)["rows_VW"].numpy())
    (weight,) = [values for values in load_file(graph / onnx.WEIGHTS).values() if values.size == 400]
    np.testing.assert_array_equal(weight.ravel(), np.arange(400, dtype=np.float32) / 400)
    model = library.load(graph / onnx.MODEL, load_external_data=False).graph
    assert {one.name for one in model.input} == {"id", "shift"}, "ONNX Runtime takes what is no input for constant"
    external = {one.name for one in model.initializer if one.data_location == library.TensorProto.EXTERNAL}
    assert external == {*load_file(graph / onnx.WEIGHTS), *load_file(graph / onnx.TABLES)}
    assert not [one for one in model.initializer if one.ByteSize() > 1_200], "the numbers are not in the graph as well"
    session = onnxruntime.InferenceSession(graph / onnx.MODEL)
    assert [node.name for node in session.get_inputs()] == ["id", "shift"]
    onnx.check(graph / onnx.MODEL, REQUEST, expected(table(5), REQUEST))


def test_tables_are_replaced_by_longer_ones_and_the_first_graph_stays(graph: Path, tmp_path: Path) -> None:
    longer = tmp_path / "longer"
    longer.mkdir()
    onnx.replace_tables(graph, table(9), longer)
    request = REQUEST | {"id": np.array([8, 7, 0])}
    onnx.check(longer / onnx.MODEL, request, expected(table(9), request))
    onnx.check(graph / onnx.MODEL, REQUEST, expected(table(5), REQUEST))
    with pytest.raises(Exception, match=r"invalid index|out of data bounds"):
        onnx.check(graph / onnx.MODEL, request, expected(table(9), request))


def test_a_table_that_is_a_buffer_of_the_module_can_be_replaced_too(tmp_path: Path) -> None:
    first, second, module = tmp_path / "first", tmp_path / "second", Scaled()
    for folder in (first, second):
        folder.mkdir()
    onnx.write(module.eval(), REQUEST, of_module(module), ["score"], first)
    onnx.replace_tables(first, table(9), second)
    request = REQUEST | {"id": np.array([8, 7, 0])}
    onnx.check(second / onnx.MODEL, request, expected(table(9), request))


def test_a_graph_that_computes_something_else_is_refused(tmp_path: Path) -> None:
    node = library.helper.make_node("Sigmoid", ["x"], ["score"])
    value = [
        library.helper.make_tensor_value_info(name, library.TensorProto.FLOAT, ["batch"]) for name in ("x", "score")
    ]
    model = library.helper.make_graph([node], "graph", [value[0]], [value[1]])
    opset = [library.helper.make_opsetid("", 18)]
    library.save(library.helper.make_model(model, opset_imports=opset, ir_version=9), tmp_path / "m.onnx")
    request = {"x": np.zeros(3, dtype=np.float32)}
    assert onnx.check(tmp_path / "m.onnx", request, np.full(3, 0.5, dtype=np.float32)) < 1e-6
    for wrong in (0.6, np.nan):
        with pytest.raises(LlmcfError, match="away from the model"):
            onnx.check(tmp_path / "m.onnx", request, np.full(3, wrong, dtype=np.float32))
