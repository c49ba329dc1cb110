"""Triton's config.pbtxt files, rendered from core.contracts.

The rendered files are tracked, so that the repository can be mounted by any Triton; a contract test proves that they
are what this module renders. After a change of the contract: `python -m llmcf.serving.triton_config`. A release's own
copy names what its graph reads, and its exact version.
"""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from core import storage
from core.contracts import SCORE, SCORE_INPUTS, SCORE_OUTPUTS, TRITON_MODELS, Tensor
from core.settings import PROJECT
from llmcf.serving.manifest import Stage

MAX_BATCH = 1024  # rows a request, and rows a dynamic batch
_TYPES = {"int64": "TYPE_INT64", "float32": "TYPE_FP32", "string": "TYPE_STRING"}
_ALL = "all: { }"
WARM = {"ranker": 200, "user_vector": 1}  # rows of the request that a version answers before the others

_CONFIG = """\
# Rendered from core/contracts.py by `python -m llmcf.serving.triton_config`.
name: "{name}"
backend: "python"
max_batch_size: {max_batch}
input [
{inputs}
]
output [
{outputs}
]
instance_group [ {{ kind: KIND_CPU count: 1 }} ]
{batching}version_policy: {{ {policy} }}
"""
_WARM_UP = """\
model_warmup [ {{
  name: "as a request" batch_size: {rows}
{inputs}
}} ]
"""


def render(name: str) -> str:
    """The config.pbtxt of the contract's model `name`, good for versions of any release: each reads what it reads."""
    if name == SCORE:
        return _render_score(_ALL)
    inputs, outputs = TRITON_MODELS[name]
    return _render(name, (replace(one, optional=True) for one in inputs), outputs, _ALL)


def render_stage(name: str, stage: Stage) -> str:
    """That of a model of a release: the inputs that its graph reads, its exact version, and a first request, whose
    memory later ones use again."""
    config = _render(name, stage.inputs, stage.outputs, _only(stage.version))
    inputs = "\n".join(f"  {_zeros(tensor)}" for tensor in stage.inputs)
    return config + _WARM_UP.format(rows=WARM[name], inputs=inputs)


def render_score(version: int) -> str:
    """That of a release's model `score`: a request is whole, so Triton batches none."""
    return _render_score(_only(version))


def _only(version: int) -> str:
    return f"specific: {{ versions: [ {version} ] }}"


def _render(name: str, inputs: Iterable[Tensor], outputs: Iterable[Tensor], policy: str) -> str:
    tensors = _lines(map(_tensor, inputs)), _lines(map(_tensor, outputs))
    return _filled(name, MAX_BATCH, *tensors, "dynamic_batching { }\n", policy)


def _render_score(policy: str) -> str:
    tensors = _lines(map(_whole, SCORE_INPUTS)), _lines(map(_whole, SCORE_OUTPUTS))
    return _filled(SCORE, 0, *tensors, "", policy)


def _filled(name: str, max_batch: int, inputs: str, outputs: str, batching: str, policy: str) -> str:
    return _CONFIG.format(
        name=name, max_batch=max_batch, inputs=inputs, outputs=outputs, batching=batching, policy=policy
    )


def _lines(tensors: Iterable[str]) -> str:
    return ",\n".join(f"  {tensor}" for tensor in tensors)


def _whole(tensor: Tensor) -> str:
    """One whose shape is that of the request."""
    optional = " optional: true" if tensor.optional else ""
    dims = ", ".join(map(str, tensor.shape))
    return f'{{ name: "{tensor.name}" data_type: {_TYPES[tensor.dtype]} dims: [ {dims} ]{optional} }}'


def _tensor(tensor: Tensor) -> str:
    """Triton knows no scalar a row: on the wire it is [1], and `reshape` hands the model a tensor of rank one."""
    dims = ", ".join(map(str, tensor.shape or (1,)))
    scalar = "" if tensor.shape else " reshape: { shape: [ ] }"
    optional = " optional: true" if tensor.optional else ""
    return f'{{ name: "{tensor.name}" data_type: {_TYPES[tensor.dtype]} dims: [ {dims} ]{scalar}{optional} }}'


def _zeros(tensor: Tensor) -> str:
    """An input of the first request: padding."""
    dims = ", ".join(map(str, tensor.shape or (1,)))
    value = f"data_type: {_TYPES[tensor.dtype]} dims: [ {dims} ] zero_data: true"
    return f'inputs {{ key: "{tensor.name}" value: {{ {value} }} }}'


def write(repository: Path) -> None:
    """Write every model's config.pbtxt into `repository`, where it is not there yet or says something else."""
    for name in (*TRITON_MODELS, SCORE):
        path = repository / name / "config.pbtxt"
        if path.is_file() and path.read_text(encoding="utf-8") == render(name):
            continue
        with storage.atomic_path(path) as beside:
            beside.write_text(render(name), encoding="utf-8")


if __name__ == "__main__":
    write(PROJECT / "triton_models")
