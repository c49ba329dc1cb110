"""A module as an ONNX graph for any number of rows, and the proof that the graph computes what the module does."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from core.errors import LlmcfError

TOLERANCE = 1e-4
_MOST_ROWS = 65_536  # of one request
Request = Mapping[str, np.ndarray]  # inputs by name, each with the same number of rows


def write(module: nn.Module, request: Request, outputs: Sequence[str], path: Path) -> None:
    """Export a module that takes the inputs of `request` by name; only their names, types and widths matter."""
    inputs = {name: torch.from_numpy(values) for name, values in request.items()}
    batch = torch.export.Dim("batch", min=1, max=_MOST_ROWS)
    with torch.no_grad():
        program = torch.onnx.export(
            module,
            kwargs=inputs,
            dynamo=True,
            dynamic_shapes={name: {0: batch} for name in inputs},
            input_names=list(inputs),
            output_names=list(outputs),
            verbose=False,
        )
    assert program is not None
    program.save(path, external_data=False)


def check(path: Path, request: Request, expected: np.ndarray) -> float:
    """Compare ONNX Runtime's first output with the model's, all rows at once and one alone.

    Returns:
        The largest difference.

    Raises:
        LlmcfError: if it is over the tolerance.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    apart = 0.0
    for rows in (slice(None), slice(0, 1)):
        found = np.asarray(session.run(None, {name: values[rows] for name, values in request.items()})[0])
        apart = float(np.maximum(apart, np.abs(found - expected[rows]).max()))  # keeps a NaN, which max() may not
    if not apart <= TOLERANCE:
        raise LlmcfError(f"the ONNX graph is {apart:.2g} away from the model it was exported from; nothing written")
    return apart
