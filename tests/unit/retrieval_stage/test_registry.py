"""A backbone is one entry: this says what was forgotten of a new one."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from core.contracts import HISTORY
from core.errors import UsageError
from core.settings import PROJECT
from retrieval_stage.configs import Gru4RecConfig, SasRecConfig, SrGnnConfig, YoutubeDnnConfig
from retrieval_stage.recipes import from_json, resolve
from retrieval_stage.registry import BACKBONES, MODELS


def test_every_module_of_models_is_registered() -> None:
    """By file: each is built by one entry."""
    files = {path.stem for path in (PROJECT / "retrieval_stage" / "models").glob("*.py")} - {"__init__", "backbone"}
    built = {
        Path(type(BACKBONES[name].module(8, HISTORY, BACKBONES[name].config())).__module__.replace(".", "/")).name
        for name in MODELS
    }
    assert built == files == set(MODELS)


@pytest.mark.parametrize("name", MODELS)
def test_an_entry_is_complete(name: str) -> None:
    entry = BACKBONES[name]
    assert dataclasses.is_dataclass(entry.config)
    described = entry.config.__doc__ or ""
    assert all(f"{one.name}" in described for one in dataclasses.fields(entry.config)), "names each of its knobs"
    assert entry.row_us > 0
    assert entry.display.lower() == name
    module = entry.module(8, HISTORY, entry.config())
    assert isinstance(module, nn.Module)
    assert module.causal in (True, False)
    assert (type(module).__doc__ or "").strip()


@pytest.mark.parametrize("name", MODELS)
def test_a_runs_configuration_comes_back_from_its_stamp(name: str) -> None:
    config = resolve(model=name, framework="none", recipe="paper", seed=1)
    assert isinstance(config.backbone, BACKBONES[name].config)
    assert from_json(json.loads(json.dumps(dataclasses.asdict(config)))) == config


@pytest.mark.parametrize(
    ("kind", "values", "told"),
    [
        (SasRecConfig, {"heads": 0}, "heads 0 of SASRec is not at least 1"),
        (YoutubeDnnConfig, {"hidden": ()}, r"hidden \(\) of YoutubeDNN is not at least 1"),
        (YoutubeDnnConfig, {"hidden": (64, 0)}, r"hidden \(64, 0\) of YoutubeDNN"),
        (YoutubeDnnConfig, {"dropout": 1.0}, "dropout 1.0 of YoutubeDNN is not in"),
        (Gru4RecConfig, {"layers": 0}, "layers 0 of GRU4Rec"),
        (Gru4RecConfig, {"hidden": -1}, "hidden -1 of GRU4Rec"),
        (Gru4RecConfig, {"dropout": -0.1}, "dropout -0.1 of GRU4Rec"),
        (SrGnnConfig, {"steps": 0}, "steps 0 of SRGNN"),
        (SrGnnConfig, {"dropout": 2.0}, "dropout 2.0 of SRGNN"),
    ],
)
def test_impossible_values_are_told(kind: type[Any], values: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        kind(**values)
