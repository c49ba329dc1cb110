"""What rankers share, against sums written out by hand, and how a run is named."""

import json
import subprocess
import sys
from dataclasses import asdict

import pytest
import torch

from core.contracts import FRAMEWORKS, RECIPES
from core.errors import UsageError
from core.settings import Workspace
from ranking.layers import Standardise
from ranking.recipes import from_json, resolve
from ranking.registry import MODELS

WS = Workspace("movielens-100k", "shuffled-ties")


def test_standardise_and_a_constant_feature() -> None:
    layer = Standardise(2)
    layer.fit(torch.tensor([[1.0, 5.0], [3.0, 5.0]]))
    out = layer(torch.tensor([[2.0, 5.0]]))
    assert out.tolist() == [[0.0, 0.0]]
    assert layer(torch.tensor([[2.0, 6.0]]))[0, 1] == 1.0, "another value of it is no million deviations"


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("model", MODELS)
def test_all_frameworks_of_a_recipe_have_the_same_hyper_parameters(model: str, recipe: str) -> None:
    plain, *others = (resolve(WS, model=model, framework=f, recipe=recipe, seed=3) for f in FRAMEWORKS)
    for other in others:
        assert [name for name in plain.__slots__ if getattr(plain, name) != getattr(other, name)] == ["framework"]


@pytest.mark.parametrize(
    ("name", "value"), [("model", "shallowfm"), ("framework", "kdd"), ("recipe", "lenient"), ("epochs", 0)]
)
def test_bad_names_are_usage_errors(name: str, value: str | int) -> None:
    arguments = {"model": "deepfm", "framework": "none", "recipe": "strict", "seed": 1, "epochs": 2} | {name: value}
    with pytest.raises(UsageError, match=str(value)):
        resolve(WS, **arguments)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("model", MODELS)
def test_a_configuration_survives_its_stamp(model: str) -> None:
    config = resolve(WS, model=model, framework="llm-cf", recipe="best", seed=3, epochs=2)
    assert from_json(json.loads(json.dumps(asdict(config)))) == config


BARE = """
import sys
import ict.module
from ranking.layers import Widths
from ranking.registry import BACKBONES
for backbone in BACKBONES.values():
    backbone.module(Widths(fields=7, width=8), backbone.config())
print(sorted({name.split(".")[0] for name in sys.modules} & {"torchrec", "fbgemm_gpu", "pyarrow", "filelock"}))
"""


def test_models_import_without_torchrec_and_arrow() -> None:
    """So that they run wherever torch does, as on a bare GPU machine."""
    done = subprocess.run([sys.executable, "-c", BARE], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
