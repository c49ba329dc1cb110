"""What rankers share, against sums written out by hand, and how a run is named."""

import json
from dataclasses import asdict

import pytest
import torch

from core.contracts import FRAMEWORKS, RECIPES
from core.errors import UsageError
from core.settings import Workspace
from ranking.bags import padded_fields
from ranking.graph import GatherFields
from ranking.layers import FIELDS, SparseFields, Standardise, mean_bag
from ranking.recipes import from_json, resolve
from ranking.registry import MODELS
from tests import in_memory

WS = Workspace("movielens-100k", "shuffled-ties")


def test_torchrec_bags_equal_plain_gathers() -> None:
    """The trained tables and their serving copy pool the same rows to the same embeddings."""
    builder, shape = in_memory.batches()
    fields = SparseFields(shape.tables, width=8)
    requests = builder.rows.requests
    trained = fields(builder(torch.arange(len(requests)), training=False).sparse)
    ids = padded_fields(builder.items, requests.user_B, requests.item_B, requests.history_BL)
    served = GatherFields(fields)(ids)
    assert trained[0].shape == (len(requests), len(FIELDS), 8)
    for left, right in zip(trained, served, strict=True):
        torch.testing.assert_close(left, right)


def test_mean_bag_by_hand() -> None:
    table = torch.tensor([[0.0, 0.0], [1.0, 2.0], [3.0, 4.0]])
    bags = torch.tensor([[0, 1, 2], [0, 0, 2], [0, 0, 0]])
    torch.testing.assert_close(mean_bag(table, bags), torch.tensor([[2.0, 3.0], [3.0, 4.0], [0.0, 0.0]]))


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
