"""A finished run's weights: safetensors whose metadata say what they are of, and are held against what reads them."""

import json
from dataclasses import asdict
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from core import steps, tensors
from core.data.tables import remedy
from core.errors import UsageError
from core.settings import Workspace
from ranking.configs import RankerConfig
from ranking.ranker import Shape, dense_features

FILE = "model.safetensors"
_FORMAT = "1"  # of the names and shapes in the file, beside what the manifest says


def manifest(ws: Workspace, config: RankerConfig, shape: Shape) -> dict[str, str]:
    """What weights are of: their origin, and the sizes of the tables."""
    return origin(ws, config) | {"tables": json.dumps(asdict(shape.tables), sort_keys=True)}


def origin(ws: Workspace, config: RankerConfig) -> dict[str, str]:
    """The data set, the features that are read, and the encoder of the texts."""
    found = {
        "format": _FORMAT,
        "dataset": ws.dataset,
        "order": ws.order,
        "as-of": ws.as_of,
        "model": config.model,
        "framework": config.framework,
        "dense features": ",".join(dense_features(config)) or "none",
    }
    if config.uses_examples or config.text_match:
        found["text encoder"] = encoder(ws.cot("vectors", config.text_set), remedy(ws, "cot embed"))
    if config.uses_knowledge:
        found["text encoder"] = encoder(ws.path("kar", "vectors"), remedy(ws, "kar embed"))
    return found


def save(path: Path, weights: dict[str, Tensor], made: dict[str, str]) -> None:
    """Write the weights with their manifest."""
    save_file(weights, path, metadata=made)
    tensors.order_metadata(path)


def check(path: Path, expected: dict[str, str]) -> None:
    """Hold a file's manifest against what is expected of it.

    Raises:
        UsageError: naming what differs, and both values.
    """
    with safe_open(path, framework="pt") as stored:
        found = stored.metadata() or {}
    for name, wanted in expected.items():
        if found.get(name) != wanted:
            raise UsageError(f"{path} is of the {name} {found.get(name, '(not stated)')}, and not of {wanted}")


def read(path: Path, expected: dict[str, str]) -> dict[str, Tensor]:
    """The weights, if they are of what is expected; else an error as of `check`."""
    check(path, expected)
    with safe_open(path, framework="pt") as stored:
        return {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 - it is no dictionary


def encoder(folder: Path, remedy: str) -> str:
    """What made a folder of text vectors: a name and a digest of the model; raises Missing if nothing did."""
    config = steps.require(folder, remedy)["config"]
    return f"{config.get('encoder', '')}@{config.get('hash', '')[:12]}"
