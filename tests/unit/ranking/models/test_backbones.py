"""The six backbones against their formulas, written out slowly."""

from itertools import combinations

import pytest
import torch

from ranking.configs import DcnConfig, DcnV2Config, DeepFmConfig, DinConfig, XDeepFmConfig
from ranking.layers import FIELDS, HISTORY, TARGET, Inputs, Positions, Widths, pairwise_dot
from ranking.models.autoint import Interaction
from ranking.models.dcn import DCN
from ranking.models.dcnv2 import DCNV2, Mixture
from ranking.models.deepfm import DeepFM
from ranking.models.din import DIN
from ranking.models.xdeepfm import Cin, XDeepFM
from ranking.registry import BACKBONES, MODELS

ROWS, WIDTH, DENSE, LENGTH = 6, 4, 3, 5
WIDTHS = Widths(fields=len(FIELDS), width=WIDTH, vectors=1, dense=DENSE)


@pytest.fixture
def inputs() -> Inputs:
    """One added vector, dense features, and histories of 0 to 5 items out of 8."""
    torch.manual_seed(0)
    place_BL = torch.randint(1, 8, (ROWS, LENGTH)) * (torch.arange(LENGTH) >= torch.arange(ROWS)[:, None])
    return Inputs(
        emb_BFD=torch.randn(ROWS, len(FIELDS), WIDTH),
        first_B=torch.randn(ROWS),
        vectors=(torch.randn(ROWS, WIDTH),),
        dense_BJ=torch.randn(ROWS, DENSE),
        positions=Positions(item_GY=torch.randn(8, 3 * WIDTH), place_BL=place_BL),
    )


def test_inputs_side_by_side(inputs: Inputs) -> None:
    extras = inputs.extras()
    assert extras is not None
    assert extras.shape == (ROWS, WIDTHS.extras)
    assert inputs.flat().shape == (ROWS, WIDTHS.flat)
    assert inputs.fields().shape == (ROWS, len(FIELDS) + 1, WIDTH)
    assert torch.equal(inputs.fields()[:, -1], inputs.vectors[0])
    bare = Inputs(emb_BFD=inputs.emb_BFD, first_B=inputs.first_B)
    assert bare.extras() is None
    assert torch.equal(bare.flat(), inputs.emb_BFD.flatten(1))


@pytest.mark.parametrize("name", MODELS)
def test_every_number_reaches_every_backbone(name: str, inputs: Inputs) -> None:
    """Each backbone scores each row alone, and its gradient reaches all that it is given."""
    torch.manual_seed(0)
    model = BACKBONES[name].module(WIDTHS, BACKBONES[name].config()).eval()
    assert inputs.dense_BJ is not None
    assert inputs.positions is not None
    parts = [inputs.emb_BFD, inputs.vectors[0], inputs.dense_BJ]
    if BACKBONES[name].attends:
        parts.append(inputs.positions.item_GY)
    else:
        parts.append(inputs.first_B)
    for part in parts:
        part.requires_grad_()
    logits = model(inputs)
    assert logits.shape == (ROWS,)
    if name in ("dcn", "dcnv2"):
        parts.pop()  # they have no first-order weights
    for gradient in torch.autograd.grad(logits.sum(), parts):
        assert gradient.ne(0).any()
    one = Inputs(
        emb_BFD=inputs.emb_BFD[2:3],
        first_B=inputs.first_B[2:3],
        vectors=(inputs.vectors[0][2:3],),
        dense_BJ=inputs.dense_BJ[2:3],
        positions=Positions(item_GY=inputs.positions.item_GY, place_BL=inputs.positions.place_BL[2:3]),
    )
    torch.testing.assert_close(model(one), logits[2:3])


@pytest.mark.parametrize("name", MODELS)
def test_dropout_is_off_when_scoring(name: str, inputs: Inputs) -> None:
    torch.manual_seed(0)
    model = BACKBONES[name].module(WIDTHS, BACKBONES[name].config(dropout=0.5))
    assert not torch.equal(model(inputs), model(inputs))
    model.eval()
    assert torch.equal(model(inputs), model(inputs))


def test_pairwise_dot_is_the_sum_over_all_pairs() -> None:
    emb_BFD = torch.randn(5, 4, 3)
    slow = sum((emb_BFD[:, i] * emb_BFD[:, j]).sum(dim=1) for i, j in combinations(range(4), 2))
    torch.testing.assert_close(pairwise_dot(emb_BFD), slow)


def test_deepfm_is_first_order_plus_fm_of_the_fields_plus_tower(inputs: Inputs) -> None:
    model = DeepFM(WIDTHS, DeepFmConfig(tower=(5,), dropout=0.0))
    assert model.first.extras is not None
    extras = inputs.extras()
    assert extras is not None
    linear = model.first.bias + inputs.first_B + extras @ model.first.extras.weight[0]
    expected = linear + pairwise_dot(inputs.emb_BFD) + model.tower(inputs.flat())[:, 0]
    torch.testing.assert_close(model(inputs), expected)


def test_xdeepfm_is_first_order_plus_cin_plus_tower(inputs: Inputs) -> None:
    model = XDeepFM(WIDTHS, XDeepFmConfig(tower=(5,), dropout=0.0, maps=(3, 2)))
    assert model.scale is not None
    assert model.scale.item() == pytest.approx(0.1)
    fields = torch.cat([inputs.emb_BFD, 0.1 * torch.stack(inputs.vectors, dim=1)], dim=1)
    expected = model.first(inputs) + slow_cin(model.cin, fields) + model.tower(inputs.flat())[:, 0]
    torch.testing.assert_close(model(inputs), expected)


def slow_cin(cin: Cin, emb_BFD: torch.Tensor) -> torch.Tensor:
    """Map by map and pair by pair; the first layer's maps are the fields."""
    last, sums = emb_BFD, []
    for weight in cin.weights:
        count, before, fields = weight.shape
        maps = [
            sum(weight[h, i, j] * last[:, i] * emb_BFD[:, j] for i in range(before) for j in range(fields))
            for h in range(count)
        ]
        last = torch.stack(maps, dim=1)  # pyright: ignore[reportArgumentType]
        sums.append(last.sum(dim=2))
    return torch.cat(sums, dim=1) @ cin.score.weight[0]


def test_autoints_attention_is_of_each_head_alone() -> None:
    torch.manual_seed(0)
    layer = Interaction(WIDTH, 6, heads=2)
    emb = torch.randn(ROWS, 5, WIDTH)
    q, k, v = layer.query_key_value(emb).chunk(3, dim=2)
    heads = []
    for head in (slice(0, 3), slice(3, 6)):
        weights = (q[..., head] @ k[..., head].transpose(1, 2) / 3**0.5).softmax(dim=2)
        heads.append(weights @ v[..., head])
    expected = torch.relu(torch.cat(heads, dim=2) + layer.residual(emb))
    torch.testing.assert_close(layer(emb), expected)


def test_dcn_crosses_by_the_published_formula(inputs: Inputs) -> None:
    model = DCN(WIDTHS, DcnConfig(tower=(6, 5), dropout=0.0, layers=2))
    torch.nn.init.normal_(model.bias_XY)
    x0 = x = inputs.flat()
    for layer, bias in zip(model.cross, model.bias_XY, strict=True):
        weight = layer.get_parameter("weight")[0]
        x = torch.stack([x0[row] * (x[row] @ weight) + bias + x[row] for row in range(ROWS)])
    expected = model.score(torch.cat([x, model.tower(x0)], dim=1))[:, 0]
    torch.testing.assert_close(model(inputs), expected)


def test_dcnv2_mixes_low_rank_experts_by_the_published_formula(inputs: Inputs) -> None:
    torch.manual_seed(0)
    x0, x = inputs.flat(), torch.randn(ROWS, WIDTHS.flat)
    layer = Mixture(WIDTHS.flat, experts=3, rank=2)
    torch.nn.init.normal_(layer.bias_Y)
    gate = layer.gate(x).softmax(dim=1)
    expected = x
    for expert in range(3):
        low = torch.tanh(torch.tanh(x @ layer.down_YMR[:, expert]) @ layer.core_MRR[expert].T)
        expected = expected + gate[:, expert : expert + 1] * x0 * (low @ layer.up_MRY[expert] + layer.bias_Y)
    torch.testing.assert_close(layer(x0, x), expected)
    model = DCNV2(WIDTHS, DcnV2Config(tower=(6, 5), dropout=0.0, layers=1))
    crossed = torch.cat([model.cross[0](x0, x0), model.tower(x0)], dim=1)
    torch.testing.assert_close(model(inputs), model.score(crossed)[:, 0])


def test_din_weighs_each_history_item_against_the_target(inputs: Inputs) -> None:
    """With the first layer over [t, h, t - h, t * h] as published, and unnormalised weights."""
    torch.manual_seed(0)
    model = DIN(WIDTHS, DinConfig(tower=(5,), dropout=0.0, attention=(7, 3)))
    positions = inputs.positions
    assert positions is not None
    emb = inputs.emb_BFD.clone()
    for row in range(ROWS):
        target = inputs.emb_BFD[row, TARGET].flatten()
        pooled = torch.zeros_like(target)
        for item in positions.place_BL[row].tolist():
            if item:
                history = positions.item_GY[item]
                weight = model.weigh(torch.cat([target, history, target - history, target * history]))
                pooled = pooled + weight * history
        emb[row, HISTORY] = pooled.unflatten(0, (3, -1))
    expected = model.tower(torch.cat([emb.flatten(1), inputs.extras()], dim=1))[:, 0]  # pyright: ignore[reportArgumentType]
    torch.testing.assert_close(model(inputs), expected, atol=1e-5, rtol=1e-5)
