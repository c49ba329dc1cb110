"""A Hugging Face model folder in OpenVINO's form, converted once by the tools of the openvino environment."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from core import settings, steps, storage
from core.errors import LlmcfError
from core.progress import say
from llm import models


def convert(model: Path, python: Path) -> Path:
    """The OpenVINO form of `model` with int8 weights, made once for each content of the model.

    Raises:
        LlmcfError: if the exporter fails.
    """
    step = steps.Step(
        folder=settings.home() / "models" / "openvino" / models.model_hash(model)[:16],
        config={"weights": "int8"},
        code=("llm/engines/openvino_export.py",),
    )
    return steps.run(step, lambda folder: _export(model, folder, python)).folder


def _export(model: Path, folder: Path, python: Path) -> dict[str, Any]:
    say("converting the model for OpenVINO (once, about a minute)")
    readable = folder / "transformers4"
    _as_transformers_4(model, readable)
    options = ["--task", "text-generation-with-past", "--weight-format", "int8"]
    done = subprocess.run(
        [python.with_name("optimum-cli"), "export", "openvino", "--model", readable, *options, folder],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "OPENVINO_TELEMETRY": "0"},
    )
    shutil.rmtree(readable)
    if done.returncode or not (folder / "openvino_model.bin").exists():
        raise LlmcfError(f"OpenVINO could not convert {model}; it said:\n{done.stderr.strip()[-1500:]}")
    return {"model": str(model), "weights": "int8"}


def _as_transformers_4(model: Path, target: Path) -> None:
    """The same model with its configuration in the words of transformers 4, which the exporter needs."""
    target.mkdir()
    for file in model.iterdir():
        if file.suffix in {".safetensors", ".json", ".jinja", ".model", ".txt"}:
            (target / file.name).symlink_to(file.resolve())
    config = storage.read_json(model / "config.json")
    if "dtype" in config:
        config["torch_dtype"] = config.pop("dtype")
    rope = config.pop("rope_parameters", None) or {}
    config.update({key: rope[key] for key in ("rope_theta",) if key in rope})
    if rope.get("rope_type", "default") != "default":
        config["rope_scaling"] = {key: value for key, value in rope.items() if key != "rope_theta"}
    (target / "config.json").unlink()
    storage.write_json(target / "config.json", config)
