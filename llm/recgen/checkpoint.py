"""DeepSpeed's checkpoints as safetensors: every ZeRO stage resumes, and nothing is ever unpickled.

DeepSpeed hands over a tree of dictionaries, lists, numbers, texts and tensors. The tensors become a safetensors file,
the tree the JSON of its metadata. A static loss scale is kept as its number; what else is none of these (a table of
addresses) is left out: a new engine makes its own.
"""

import json
from pathlib import Path
from typing import Any

import torch
from deepspeed.runtime.checkpoint_engine.checkpoint_engine import CheckpointCommitInfo, CheckpointEngine
from deepspeed.runtime.fp16.loss_scaler import LossScaler
from safetensors import safe_open
from safetensors.torch import save_file

_LEFT_OUT = object()


class SafetensorsCheckpointEngine(CheckpointEngine):
    """What a DeepSpeed engine saves and loads its state with: set it as `engine.checkpoint_engine`."""

    def create(self, info: CheckpointCommitInfo) -> None:
        """Nothing to prepare."""

    def save(self, state_dict: Any, path: str) -> None:
        tensors: dict[str, torch.Tensor] = {}
        tree = _packed(state_dict, tensors)
        save_file(tensors, path, metadata={"tree": json.dumps(tree)})

    def load(self, path: str, map_location: Any = None) -> Any:  # noqa: ARG002 - DeepSpeed moves it where it belongs
        with safe_open(path, framework="pt") as stored:
            return _unpacked(json.loads(stored.metadata()["tree"]), stored)

    def commit(self, info: CheckpointCommitInfo) -> None:
        """Nothing to add: files are whole when `save` returns."""


def newest(folder: Path) -> str | None:
    """The tag of the last finished checkpoint in a folder, or None."""
    pointer = folder / "latest"  # DeepSpeed writes it when all files are there
    tag = pointer.read_text(encoding="utf-8").strip() if pointer.is_file() else ""
    return tag if tag and (folder / tag).is_dir() else None


def _packed(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    """`value` as JSON: [kind, content]; tensors go into `tensors` under a number."""
    if isinstance(value, torch.Tensor):
        name = str(len(tensors))
        tensors[name] = value.detach().contiguous().clone()
        return ["tensor", name]
    if value is None or isinstance(value, bool | int | float | str):
        return ["plain", value]
    if isinstance(value, LossScaler):
        return ["scale", value.cur_scale]
    if isinstance(value, dict):
        pairs = [[_packed(key, tensors), _packed(item, tensors)] for key, item in value.items()]
        return ["dict", [pair for pair in pairs if _LEFT_OUT not in pair]]
    if isinstance(value, list | tuple | set):
        packed = [_packed(item, tensors) for item in value]
        return _LEFT_OUT if _LEFT_OUT in packed else [type(value).__name__, packed]
    return _LEFT_OUT


def _unpacked(node: Any, stored: Any) -> Any:
    kind, content = node
    match kind:
        case "tensor":
            return stored.get_tensor(content)
        case "dict":
            return {_unpacked(key, stored): _unpacked(item, stored) for key, item in content}
        case "plain":
            return content
        case "scale":
            return LossScaler(content)
        case "set":
            return {_unpacked(item, stored) for item in content}
        case _:
            items = [_unpacked(item, stored) for item in content]
            return items if kind == "list" else tuple(items)
