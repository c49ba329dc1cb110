"""A Hugging Face model folder in OpenVINO's form, converted once by the tools of the openvino environment."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from core import settings, steps, storage
from core.errors import LlmcfError
from core.progress import say
from llm import models

WEIGHTS = "int8"
_MADE = ("openvino_model.bin", "openvino_tokenizer.xml", "openvino_detokenizer.xml")


def convert(model: Path, python: Path, weights: str = WEIGHTS) -> Path:
    """The OpenVINO form of `model`, made once for each content of the model.

    Args:
        weights: int8 or fp32; benchmarks/results/quantisation.md says what the difference does.

    Raises:
        LlmcfError: if the exporter fails.
    """
    step = steps.Step(
        folder=settings.home() / "models" / "openvino" / f"{models.model_hash(model)[:16]}-{weights}",
        config={"weights": weights},
        code=("llm/engines/openvino_export.py",),
    )
    return steps.run(step, lambda folder: _export(model, folder, python, weights)).folder


def _export(model: Path, folder: Path, python: Path, weights: str) -> dict[str, Any]:
    say("converting the model for OpenVINO (once, about a minute)")
    readable = folder / "transformers4"
    _as_transformers_4(model, readable)
    options = ["--task", "text-generation-with-past", "--weight-format", weights]
    done = subprocess.run(
        [python.with_name("optimum-cli"), "export", "openvino", "--model", readable, *options, folder],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "OPENVINO_TELEMETRY": "0"},
    )
    shutil.rmtree(readable)
    if done.returncode and storage.last_says_full(done.stderr):
        raise storage.no_space(f"converting {model} in {folder.parent}")
    if done.returncode or not all((folder / file).exists() for file in _MADE):
        raise LlmcfError(f"OpenVINO could not convert {model}; it said:\n{done.stderr.strip()[-1500:]}")
    return {"model": str(model), "weights": weights}


def _as_transformers_4(model: Path, target: Path) -> None:
    """The same model with its configuration in the words of transformers 4, which the exporter needs."""
    target.mkdir()
    for file in model.iterdir():
        if file.suffix in {".safetensors", ".json", ".jinja", ".model", ".txt"}:
            (target / file.name).symlink_to(file.resolve())
    _rewrite(target / "config.json", _config_4)
    _rewrite(target / "tokenizer_config.json", _tokenizer_4)


def _config_4(config: dict[str, Any]) -> dict[str, Any]:
    rope = config.pop("rope_parameters", None) or {}
    if "dtype" in config:
        config["torch_dtype"] = config.pop("dtype")
    if "rope_theta" in rope:
        config["rope_theta"] = rope["rope_theta"]
    if rope.get("rope_type", "default") != "default":
        config["rope_scaling"] = {key: value for key, value in rope.items() if key != "rope_theta"}
    return config


def _tokenizer_4(config: dict[str, Any]) -> dict[str, Any]:
    if config.get("tokenizer_class") == "TokenizersBackend":
        config["tokenizer_class"] = "PreTrainedTokenizerFast"
    config.pop("backend", None)
    return config


def _rewrite(path: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Replace the link `path` by a changed copy of what it points to."""
    if path.exists():
        config = change(storage.read_json(path))
        path.unlink()
        storage.write_json(path, config)
