"""A backbone is one entry: this says what was forgotten of a new one."""

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import nn

from core.errors import UsageError
from core.settings import PROJECT, Workspace
from ranking.configs import AutoIntConfig, BackboneConfig, DcnConfig, DcnV2Config, DinConfig, XDeepFmConfig
from ranking.layers import FIELDS, Inputs, Positions, Widths
from ranking.recipes import resolve
from ranking.registry import BACKBONES, MODELS

WIDTHS = Widths(fields=len(FIELDS), width=4, vectors=1, dense=2)
WS = Workspace("movielens-100k", "shuffled-ties")


def inputs(positions: Positions | None) -> Inputs:
    emb_BFD, first_B = torch.randn(3, len(FIELDS), 4), torch.randn(3)
    return Inputs(
        emb_BFD=emb_BFD, first_B=first_B, vectors=(torch.randn(3, 4),), dense_BJ=torch.randn(3, 2), positions=positions
    )


def test_every_module_of_models_is_registered() -> None:
    """By file: each is built by one entry."""
    files = {path.stem for path in (PROJECT / "ranking" / "models").glob("*.py")} - {"__init__"}
    built = {
        Path(BACKBONES[name].module(WIDTHS, BACKBONES[name].config()).__module__.replace(".", "/")).name
        for name in MODELS
    }
    assert built == files


@pytest.mark.parametrize("name", MODELS)
def test_an_entry_is_complete(name: str) -> None:
    entry = BACKBONES[name]
    assert issubclass(entry.config, BackboneConfig)
    assert dataclasses.is_dataclass(entry.config)
    assert (entry.config.__doc__ or "").strip(), "says what its hyper-parameters mean"
    knobs, shared = ({one.name for one in dataclasses.fields(kind)} for kind in (entry.config, BackboneConfig))
    assert all(knob in (entry.config.__doc__ or "") for knob in knobs - shared), "names each of its own knobs"
    assert entry.row_us > 0
    assert all(entry.names)
    assert isinstance(resolve(WS, model=name, framework="none", recipe="strict", seed=1).backbone, entry.config)


@pytest.mark.parametrize("name", MODELS)
def test_a_backbone_that_attends_says_so(name: str) -> None:
    module = BACKBONES[name].module(WIDTHS, BACKBONES[name].config())
    assert isinstance(module, nn.Module)
    if BACKBONES[name].attends:
        with pytest.raises(AssertionError, match="history"):
            module(inputs(None))
    else:
        assert module(inputs(None)).shape == (3,)


@pytest.mark.parametrize(
    ("kind", "values", "told"),
    [
        (DcnConfig, {"tower": ()}, r"tower \(\) of a backbone"),
        (DcnConfig, {"dropout": 1.0}, "dropout 1.0 of a backbone is not in"),
        (DcnConfig, {"layers": 0}, "layers 0 of DCN is not at least 1"),
        (DcnV2Config, {"experts": 0}, "experts 0 of DCN-V2"),
        (DcnV2Config, {"rank": -1}, "rank -1 of DCN-V2"),
        (XDeepFmConfig, {"maps": (8, 0)}, "maps .* of xDeepFM"),
        (XDeepFmConfig, {"precision": "int8"}, "unknown precision 'int8'"),
        (AutoIntConfig, {"attention": 5}, "attention 5 of AutoInt does not split into 2 heads"),
        (DinConfig, {"attention": ()}, "attention .* of DIN"),
    ],
)
def test_impossible_values_are_told(kind: type[BackboneConfig], values: dict[str, object], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        kind(**values)  # pyright: ignore[reportArgumentType]
