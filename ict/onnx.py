"""A module as an ONNX graph for any number of rows, with its weights and its tables in files of their own.

A graph folder holds `model.onnx` (the computation), `weights.safetensors` (what was learnt) and `tables.safetensors`
(what the graph reads of items and examples). Both are external data of the graph as they lie there, so ONNX Runtime
loads the three as one model, and the tables can be replaced, by others of any length, without tracing the module again.
"""

import json
import logging
import shutil
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors.numpy import save_file
from torch import Tensor, nn

from core.errors import LlmcfError

if TYPE_CHECKING:
    from onnx import ModelProto, TensorProto

MODEL, WEIGHTS, TABLES = "model.onnx", "weights.safetensors", "tables.safetensors"
TOLERANCE = 1e-4
_MOST_ROWS = 65_536  # of one request
_MOST_TABLE_ROWS = 2**31
_SMALL = 1024  # bytes up to which a constant stays inside the graph: shapes, scalars
Request = Mapping[str, np.ndarray]  # inputs by name, each with the same number of rows
Tables = Mapping[str, Tensor]


def write(module: nn.Module, request: Request, tables: Tables, outputs: Sequence[str], folder: Path) -> None:
    """Export `module(request, tables)`, both mappings of tensors by name, into `folder`.

    Of the request only names, types and widths matter. Tables are traced as inputs of any length (a table of one row
    stays one), and as copies, since one that is also a buffer of the module would be taken for a constant.
    """
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it warns of every library that is not installed
    rows = torch.export.Dim("rows", min=1, max=_MOST_ROWS)
    of_table = {
        name: {0: torch.export.Dim(f"rows_of_{name}", min=2, max=_MOST_TABLE_ROWS)} if len(table) > 1 else {}
        for name, table in tables.items()
    }
    inputs = {name: torch.from_numpy(values) for name, values in request.items()}
    copies = {name: table.detach().clone() for name, table in tables.items()}
    with torch.no_grad():
        program = torch.onnx.export(
            module,
            kwargs={"request": inputs, "tables": copies},
            dynamo=True,
            dynamic_shapes={
                "request": {name: {0: rows} for name in request},
                "tables": of_table,
            },
            input_names=[*request, *tables],
            output_names=list(outputs),
            verbose=False,
        )
    assert program is not None
    model = program.model_proto  # made anew at each look
    graph = model.graph
    weights = {one.name: _array(one) for one in graph.initializer}
    weights = {name: values for name, values in weights.items() if values.nbytes > _SMALL}
    _store(weights, folder / WEIGHTS, graph.initializer)
    kept = [one for one in graph.input if one.name not in tables]
    del graph.input[:]
    graph.input.extend(kept)
    _set_tables(model, tables, folder)


def replace_tables(graph: Path, tables: Tables, folder: Path) -> None:
    """The graph of one folder over other tables, into another folder."""
    import onnx

    shutil.copyfile(graph / WEIGHTS, folder / WEIGHTS)
    _set_tables(onnx.load(graph / MODEL, load_external_data=False), tables, folder)


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


def _set_tables(model: "ModelProto", tables: Tables, folder: Path) -> None:
    """Give the graph its tables, in place of those it may have, and write it."""
    from onnx import TensorProto, helper

    arrays = {name: np.ascontiguousarray(table.detach().cpu().numpy()) for name, table in tables.items()}
    others = [one for one in model.graph.initializer if one.name not in arrays]
    del model.graph.initializer[:]
    model.graph.initializer.extend(others)
    for name, values in arrays.items():
        kind = helper.np_dtype_to_tensor_dtype(values.dtype)
        model.graph.initializer.append(TensorProto(name=name, dims=values.shape, data_type=kind))
    _store(arrays, folder / TABLES, model.graph.initializer)
    (folder / MODEL).write_bytes(model.SerializeToString())


def _store(arrays: Mapping[str, np.ndarray], path: Path, initializers: "Sequence[TensorProto]") -> None:
    """Write arrays as safetensors, and let the initializers of their names point there."""
    from onnx import TensorProto

    save_file(dict(arrays), path)
    places = _places(path)
    for one in initializers:
        if one.name in arrays:
            for name in ("raw_data", "float_data", "int32_data", "int64_data", "double_data"):
                one.ClearField(name)
            del one.external_data[:]
            one.data_location = TensorProto.EXTERNAL
            start, length = places[one.name]
            for key, value in (("location", path.name), ("offset", str(start)), ("length", str(length))):
                entry = one.external_data.add()
                entry.key, entry.value = key, value


def _places(path: Path) -> dict[str, tuple[int, int]]:
    """Where each tensor of a safetensors file begins, and how many bytes it has."""
    with path.open("rb") as stream:
        (header,) = struct.unpack("<Q", stream.read(8))
        entries = json.loads(stream.read(header))
    entries.pop("__metadata__", None)
    spans = {name: entry["data_offsets"] for name, entry in entries.items()}
    return {name: (8 + header + start, stop - start) for name, (start, stop) in spans.items()}


def _array(initializer: "TensorProto") -> np.ndarray:
    from onnx import numpy_helper

    return np.ascontiguousarray(numpy_helper.to_array(initializer))
