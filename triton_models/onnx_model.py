"""Triton Python-backend model: ONNX Runtime over the `model.onnx` that lies beside this file.

`llmcf export` copies this file as `model.py` into every version folder. All requests of a dynamic batch become one
ONNX Runtime call. Of what the graph reads, OPTIONAL may be missing: its rows are then zero.
"""

from pathlib import Path

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils

Feed = dict[str, np.ndarray]
OPTIONAL = frozenset({"brand", "categories", "text"})  # known of candidates that came after the release
_DTYPES = {"tensor(int64)": np.int64, "tensor(float)": np.float32}


class TritonPythonModel:
    """The class Triton's Python backend looks for."""

    def initialize(self, args: dict[str, str]) -> None:
        del args  # the graph itself says all there is to know
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # parallelism comes from batches and instances, not from inside a small graph
        options.inter_op_num_threads = 1
        path = str(Path(__file__).with_name("model.onnx"))
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        declared = self.session.get_inputs()
        self.inputs = [tensor.name for tensor in declared]
        self.missing = {tensor.name: (tensor.shape[1:], _DTYPES[tensor.type]) for tensor in declared}
        self.outputs = [tensor.name for tensor in self.session.get_outputs()]

    def execute(self, requests: list) -> list:
        """One response a request, in order; a wrong request gets an error of its own and spoils none of the others."""
        feeds: dict[int, Feed] = {}
        responses = {}
        for place, request in enumerate(requests):
            try:
                feeds[place] = self._read(request)
            except ValueError as error:
                responses[place] = _failure(error)
        responses |= self._answer(feeds)
        return [responses[place] for place in range(len(requests))]

    def _read(self, request: object) -> Feed:
        found = {name: pb_utils.get_input_tensor_by_name(request, name) for name in self.inputs}
        feed = {name: tensor.as_numpy() for name, tensor in found.items() if tensor is not None}
        if lacking := [name for name in self.inputs if name not in feed and name not in OPTIONAL]:
            raise ValueError(f"input {', '.join(map(repr, lacking))} is missing: this version reads it")
        rows = len(next(iter(feed.values())))
        for name in self.inputs:
            if name not in feed:
                shape, dtype = self.missing[name]
                feed[name] = np.zeros((rows, *shape), dtype)
        for name, values in feed.items():
            if np.issubdtype(values.dtype, np.integer) and values.size and values.min() < 0:
                raise ValueError(f"input {name!r} holds {values.min()}: ids are not negative")  # ONNX would count back
            if np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
                raise ValueError(f"input {name!r} holds a value that is not finite")
        return feed

    def _answer(self, feeds: dict[int, Feed]) -> dict:
        """Responses by place, from one run; only where that run fails, from one run a request."""
        if not feeds:
            return {}
        try:
            outputs = self._run(list(feeds.values()))
        except Exception as error:  # e.g. an id past a table's end; ONNX Runtime's errors share no narrower base
            if len(feeds) == 1:
                return dict.fromkeys(feeds, _failure(error))
            return {
                place: response for one, feed in feeds.items() for place, response in self._answer({one: feed}).items()
            }
        return dict(zip(feeds, map(self._response, outputs), strict=True))

    def _run(self, feeds: list[Feed]) -> list[list[np.ndarray]]:
        """The graph's outputs for each of `feeds`, computed as one batch."""
        whole = {name: np.concatenate([feed[name] for feed in feeds]) for name in self.inputs}
        outputs = self.session.run(self.outputs, whole)
        ends = np.cumsum([len(feed[self.inputs[0]]) for feed in feeds])[:-1]
        return [list(parts) for parts in zip(*(np.split(output, ends) for output in outputs), strict=True)]

    def _response(self, outputs: list[np.ndarray]) -> object:
        tensors = [pb_utils.Tensor(name, values) for name, values in zip(self.outputs, outputs, strict=True)]
        return pb_utils.InferenceResponse(tensors)


def _failure(error: Exception) -> object:
    return pb_utils.InferenceResponse([], error=pb_utils.TritonError(str(error)))
