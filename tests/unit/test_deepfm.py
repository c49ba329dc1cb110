"""DeepFM and its layers against sums written out by hand."""

from itertools import combinations

import pytest
import torch

from core.errors import UsageError
from core.settings import Workspace
from ranking.batch import padded_fields, sparse_fields
from ranking.layers import FIELDS, SparseFields, Standardise, mean_bag, pairwise_dot
from ranking.models.deepfm import DeepFM
from ranking.recipes import DeepFmConfig, from_json, resolve
from ranking.served import GatherFields
from tests import in_memory

WS = Workspace("movielens-100k", "shuffled-ties")


def test_pairwise_dot_is_the_sum_over_all_pairs() -> None:
    emb_BFD = torch.randn(5, 4, 3)
    slow = sum((emb_BFD[:, i] * emb_BFD[:, j]).sum(dim=1) for i, j in combinations(range(4), 2))
    torch.testing.assert_close(pairwise_dot(emb_BFD), slow)


def test_logit_is_first_order_plus_fm_plus_tower() -> None:
    torch.manual_seed(0)
    model = DeepFM(fields=3, width=4, extra=2, config=DeepFmConfig(tower=(5,), dropout=0.0))
    emb_BFD, first_B, extra_BX = torch.randn(6, 3, 4), torch.randn(6), torch.randn(6, 2)
    assert model.extra_weights is not None
    expected = (
        model.bias
        + first_B
        + extra_BX @ model.extra_weights.weight[0]
        + pairwise_dot(emb_BFD)
        + model.tower(torch.cat([emb_BFD.flatten(1), extra_BX], dim=1))[:, 0]
    )
    torch.testing.assert_close(model(emb_BFD, first_B, extra_BX), expected)


def test_dropout_is_in_the_tower_and_off_when_scoring() -> None:
    model = DeepFM(fields=3, width=4, extra=0, config=DeepFmConfig(tower=(50,), dropout=0.5))
    emb_BFD, first_B = torch.randn(6, 3, 4), torch.randn(6)
    assert not torch.equal(model(emb_BFD, first_B), model(emb_BFD, first_B))
    model.eval()
    assert torch.equal(model(emb_BFD, first_B), model(emb_BFD, first_B))


def test_torchrec_bags_equal_plain_gathers() -> None:
    """The trained tables and their serving copy pool the same rows to the same embeddings."""
    builder, shape = in_memory.batches()
    fields = SparseFields(shape.tables, width=8)
    requests = builder.rows.requests
    ids = (requests.user_B, requests.item_B, requests.history_BL)
    trained = fields(sparse_fields(padded_fields(builder.catalogue, *ids)))
    served = GatherFields(fields, builder.catalogue)(*ids)
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


def test_both_frameworks_of_a_recipe_have_the_same_hyper_parameters() -> None:
    for recipe in ("strict", "paper", "best"):
        plain, ours = (resolve(WS, model="deepfm", framework=f, recipe=recipe, seed=3) for f in ("none", "llm-cf"))
        assert [name for name in plain.__slots__ if getattr(plain, name) != getattr(ours, name)] == ["framework"]


@pytest.mark.parametrize(
    ("name", "value"), [("model", "shallowfm"), ("framework", "kdd"), ("recipe", "lenient"), ("epochs", 0)]
)
def test_bad_names_are_usage_errors(name: str, value: str | int) -> None:
    arguments = {"model": "deepfm", "framework": "none", "recipe": "strict", "seed": 1, "epochs": 2} | {name: value}
    with pytest.raises(UsageError, match=str(value)):
        resolve(WS, **arguments)  # pyright: ignore[reportArgumentType]


def test_a_configuration_survives_its_stamp() -> None:
    import json
    from dataclasses import asdict

    config = resolve(WS, model="deepfm", framework="llm-cf", recipe="best", seed=3, epochs=2)
    assert from_json(json.loads(json.dumps(asdict(config)))) == config
