"""Graphs are written for any number of rows, and one that departs from its model is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from core.errors import LlmcfError
from ict import onnx


class Scores(nn.Module):
    def forward(self, x: Tensor, ids: Tensor) -> Tensor:
        """Return (B,)."""
        return torch.sigmoid(x.sum(dim=1)) + ids


REQUEST = {"x": np.ones((3, 2), dtype=np.float32), "ids": np.arange(3)}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("graph") / "m.onnx"
    onnx.write(Scores(), REQUEST, ["score"], path)
    return path


def expected(request: onnx.Request) -> np.ndarray:
    return Scores()(*map(torch.from_numpy, request.values())).numpy()


def test_a_graph_names_its_inputs_and_outputs_and_takes_any_number_of_rows(path: Path) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(path)
    assert [node.name for node in session.get_inputs()] == ["x", "ids"]
    assert [node.name for node in session.get_outputs()] == ["score"]
    for rows in (1, 3, 70):
        request = {"x": np.full((rows, 2), 0.1, dtype=np.float32), "ids": np.arange(rows)}
        np.testing.assert_allclose(np.asarray(session.run(None, request)[0]), expected(request), atol=1e-6)


def test_the_largest_difference_is_told(path: Path) -> None:
    assert onnx.check(path, REQUEST, expected(REQUEST)) < 1e-6
    assert onnx.check(path, REQUEST, expected(REQUEST) + np.array([0, 5e-5, 0])) == pytest.approx(5e-5, rel=1e-2)


@pytest.mark.parametrize("departure", [0.1, np.nan])
def test_a_graph_that_computes_something_else_is_refused(path: Path, departure: float) -> None:
    other = expected(REQUEST) + np.array([0, 0, departure])
    with pytest.raises(LlmcfError, match="away from the model"):
        onnx.check(path, REQUEST, other)
