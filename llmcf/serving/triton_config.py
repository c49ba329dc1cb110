"""Triton's config.pbtxt files, rendered from core.contracts.

The rendered files are tracked, so that the repository can be mounted by any Triton; a contract test proves that they
are what this module renders. After a change of the contract: `python -m llmcf.serving.triton_config`. A release's own
copy names what its graph reads, and its exact version.
"""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from core import storage
from core.contracts import TRITON_MODELS, Tensor
from core.settings import PROJECT
from llmcf.serving.manifest import Stage

MAX_BATCH = 1024  # rows a request, and rows a dynamic batch
_TYPES = {"int64": "TYPE_INT64", "float32": "TYPE_FP32"}

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
dynamic_batching {{ }}
version_policy: {{ {policy} }}
"""


def render(name: str) -> str:
    """The config.pbtxt of the contract's model `name`, good for versions of any release: each reads what it reads."""
    inputs, outputs = TRITON_MODELS[name]
    return _render(name, (replace(one, optional=True) for one in inputs), outputs, "all: { }")


def render_stage(name: str, stage: Stage) -> str:
    """That of a model of a release: the inputs that its graph reads, and its exact version."""
    return _render(name, stage.inputs, stage.outputs, f"specific: {{ versions: [ {stage.version} ] }}")


def _render(name: str, inputs: Iterable[Tensor], outputs: Iterable[Tensor], policy: str) -> str:
    return _CONFIG.format(
        name=name, max_batch=MAX_BATCH, inputs=_tensors(inputs), outputs=_tensors(outputs), policy=policy
    )


def _tensors(tensors: Iterable[Tensor]) -> str:
    return ",\n".join(f"  {_tensor(tensor)}" for tensor in tensors)


def _tensor(tensor: Tensor) -> str:
    """Triton knows no scalar a row: on the wire it is [1], and `reshape` hands the model a tensor of rank one."""
    dims = ", ".join(map(str, tensor.shape or (1,)))
    scalar = "" if tensor.shape else " reshape: { shape: [ ] }"
    optional = " optional: true" if tensor.optional else ""
    return f'{{ name: "{tensor.name}" data_type: {_TYPES[tensor.dtype]} dims: [ {dims} ]{scalar}{optional} }}'


def write(repository: Path) -> None:
    """Write every model's config.pbtxt into `repository`, where it is not there yet or says something else."""
    for name in TRITON_MODELS:
        path = repository / name / "config.pbtxt"
        if path.is_file() and path.read_text(encoding="utf-8") == render(name):
            continue
        with storage.atomic_path(path) as beside:
            beside.write_text(render(name), encoding="utf-8")


if __name__ == "__main__":
    write(PROJECT / "triton_models")
