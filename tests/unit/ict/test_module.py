"""The ICT decoder: what it may look at, that sharing examples changes nothing, and its losses by hand."""

import pytest
import torch
import torch.nn.functional as F

from core.errors import UsageError
from ict.config import IctConfig
from ict.decoder import Linear, attention, causal_bias, rms_norm, rotate, rotation
from ict.module import InContext, Similarities, distinct, there

WIDTH, TEXT, K = 8, 12, 2


@pytest.fixture
def ict() -> InContext:
    torch.manual_seed(0)
    return InContext(IctConfig(hidden=16, text_hidden=16), width=WIDTH, text_width=TEXT).eval()


@pytest.fixture
def tokens(ict: InContext) -> torch.Tensor:
    cot = F.normalize(torch.randn(6, TEXT), dim=-1)
    return ict.tokens(torch.randn(6, WIDTH), cot, torch.tensor([0, 1, 0, 1, 0, 1])).detach()


def test_w_depends_on_the_request_on_every_example_and_on_their_order(ict: InContext, tokens: torch.Tensor) -> None:
    r = torch.randn(1, WIDTH)
    base, _ = ict(r, tokens, torch.tensor([[1, 2]]))
    for slots in ([3, 2], [1, 3], [2, 1], [1, 0]):
        assert not torch.allclose(base, ict(r, tokens, torch.tensor([slots]))[0], atol=1e-5), slots
    assert not torch.allclose(base, ict(r + 1, tokens, torch.tensor([[1, 2]]))[0], atol=1e-5)


def test_a_prediction_sees_nothing_after_its_own_token(ict: InContext, tokens: torch.Tensor) -> None:
    changed = tokens.clone()
    changed[1, 1:] += 1  # c and l of the first example, which its own prediction must not see
    changed[2] += 1
    slots = torch.tensor([[1, 2]])
    r = torch.randn(1, WIDTH)
    before, after = (ict.train()(r, table, slots)[1] for table in (tokens, changed))
    torch.testing.assert_close(before[:, 0], after[:, 0])
    assert not torch.allclose(before[:, 1], after[:, 1], atol=1e-4)


def test_missing_examples_are_never_looked_at(ict: InContext, tokens: torch.Tensor) -> None:
    changed = tokens.clone()
    changed[0] += 5
    r = torch.randn(3, WIDTH)
    slots = torch.tensor([[0, 1], [2, 0], [0, 0]])
    torch.testing.assert_close(ict(r, tokens, slots)[0], ict(r, changed, slots)[0])
    assert torch.isfinite(ict.train()(r, tokens, slots)[1]).all()


def test_scoring_computes_w_as_training_does_and_no_predictions(ict: InContext, tokens: torch.Tensor) -> None:
    r, slots = torch.randn(3, WIDTH), torch.tensor([[0, 1], [2, 0], [4, 3]])
    (w, none), (in_training, predictions) = ict(r, tokens, slots), ict.train()(r, tokens, slots)
    torch.testing.assert_close(w, in_training)
    assert (none.shape, predictions.shape) == ((3, 0, WIDTH), (3, K, WIDTH))


def test_all_that_is_computed_stays_on_the_device_of_the_inputs() -> None:
    """On `meta`, which refuses to meet a tensor of the CPU as a GPU does; the backward pass included."""
    device = torch.device("meta")
    ict = InContext(IctConfig(), width=WIDTH, text_width=TEXT).to(device)
    r = torch.randn(4, WIDTH, device=device, requires_grad=True)
    label = torch.zeros(6, dtype=torch.int64, device=device)
    table = ict.tokens(torch.randn(6, WIDTH, device=device), torch.randn(6, TEXT, device=device), label)
    w, predict = ict(r, table, torch.ones(4, K, dtype=torch.int64, device=device))
    (w.sum() + predict.sum()).backward()
    assert r.grad is not None
    assert r.grad.device == device


def test_requests_of_one_batch_do_not_touch_each_other(ict: InContext, tokens: torch.Tensor) -> None:
    r, slots = torch.randn(4, WIDTH), torch.tensor([[1, 2], [3, 0], [5, 4], [2, 2]])
    together = ict(r, tokens, slots)[0]
    alone = torch.cat([ict(r[i : i + 1], tokens, slots[i : i + 1])[0] for i in range(4)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_distinct_examples_give_the_same_as_the_whole_table(ict: InContext) -> None:
    examples = torch.tensor([[4, 2], [2, 0], [9, 4]])
    r_MW, cot_ME, label_M = torch.randn(10, WIDTH), torch.randn(10, TEXT), torch.randint(0, 2, (10,))
    ids, slots = distinct(examples)
    assert ids.tolist() == [0, 2, 4, 9]
    assert torch.equal(ids[slots], examples)
    r_BW = torch.randn(3, WIDTH)
    whole = ict(r_BW, ict.tokens(r_MW, cot_ME, label_M), examples)
    part = ict(r_BW, ict.tokens(r_MW[ids], cot_ME[ids], label_M[ids]), slots)
    torch.testing.assert_close(whole[0], part[0])


def test_distinct_keeps_no_example_first_even_if_unused() -> None:
    ids, slots = distinct(torch.tensor([[3, 5]]))
    assert ids.tolist() == [0, 3, 5]
    assert slots.tolist() == [[1, 2]]


def test_similarity_is_read_only_where_configured(ict: InContext) -> None:
    torch.manual_seed(0)
    reading = InContext(IctConfig(use_similarity=True), width=WIDTH, text_width=TEXT)
    tokens = reading.tokens(torch.randn(3, WIDTH), torch.randn(3, TEXT), torch.tensor([0, 1, 0]))
    r, slots = torch.randn(1, WIDTH), torch.tensor([[1, 2]])
    near, far = (reading(r, tokens, slots, torch.tensor([[s, s]]))[0] for s in (0.9, 0.1))
    assert not torch.allclose(near, far, atol=1e-5)
    assert torch.equal(ict(r, tokens, slots)[0], ict(r, tokens, slots, torch.ones(1, 2))[0])


def test_reconstruction_loss_by_hand(ict: InContext) -> None:
    cot = torch.eye(3, TEXT)
    slots = torch.tensor([[1, 0], [2, 1]])
    predict = torch.randn(2, K, WIDTH)
    heads = ict.reconstruct(predict)
    cosines = [F.cosine_similarity(heads[b, k], cot[slots[b, k]], dim=0) for b, k in ((0, 0), (1, 0), (1, 1))]
    torch.testing.assert_close(ict.reconstruction_loss(predict, slots, cot), 1 - sum(cosines) / 3)


def test_reconstruction_loss_without_any_example_is_zero_and_has_a_gradient(ict: InContext) -> None:
    predict = torch.randn(2, K, WIDTH, requires_grad=True)
    loss = ict.reconstruction_loss(predict, torch.zeros(2, K, dtype=torch.int64), torch.eye(3, TEXT))
    loss.backward()
    assert loss.item() == 0


def test_the_loss_of_the_first_rows_is_the_loss_of_all_when_they_fit() -> None:
    torch.manual_seed(1)
    small = InContext(IctConfig(predictions=4), width=WIDTH, text_width=TEXT)
    predict, slots, cot = torch.randn(6, K, WIDTH), torch.randint(1, 3, (6, K)), torch.eye(3, TEXT)
    first_two = small.reconstruction_loss(predict[:2], slots[:2], cot)
    torch.testing.assert_close(small.reconstruction_loss(predict, slots, cot), first_two)


def test_mask_by_hand() -> None:
    bias = causal_bias(there(torch.tensor([[0, 7]]), per_example=3))[0, 0]
    assert bias[:, 7:].eq(-torch.inf).all(), "keys that only fill up"
    mask = bias[:, :7] == 0
    assert mask[6].tolist() == [False, False, False, True, True, True, True]  # the request: all but the missing
    assert mask[1].tolist() == [False, True, False, False, False, False, False]  # a missing one sees itself only
    assert mask[4].tolist() == [False, False, False, True, True, False, False]


def test_rotation_keeps_lengths_and_depends_on_distance_only() -> None:
    turn = rotation(13, 1, 8)
    q, k = torch.randn(8), torch.randn(8)
    turned_q, turned_k = (rotate(x.expand(1, 13, 1, 8), turn)[0, :, 0] for x in (q, k))
    torch.testing.assert_close(turned_q.norm(dim=-1), q.norm().expand(13))
    scores = turned_q @ turned_k.T
    torch.testing.assert_close(scores[5, 2], scores[12, 9], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(scores[5, 2], scores[5, 4], atol=1e-3)


def test_attention_is_the_one_of_torch() -> None:
    q, k, v = torch.randn(3, 5, 2, 4), torch.randn(3, 7, 2, 4), torch.randn(3, 7, 2, 4)
    bias = causal_bias(torch.rand(3, 7) < 0.7)[:, :, :5]
    heads_first = (part.transpose(1, 2) for part in (q, k, v))
    wanted = F.scaled_dot_product_attention(*heads_first, attn_mask=bias[..., :7]).transpose(1, 2).flatten(2)
    torch.testing.assert_close(attention(q, k, v, bias), wanted)


def test_bfloat16_is_for_training_alone() -> None:
    layer, x = Linear(64, 32, "bfloat16"), torch.randn(8, 64)
    exact = F.linear(x, layer.weight, layer.bias)
    trained = layer(x)
    assert trained.dtype == torch.bfloat16
    torch.testing.assert_close(trained.float(), exact, atol=0.05, rtol=0.05)
    assert torch.equal(layer.eval()(x), exact)


def test_gradients_by_hand_are_those_of_automatic_differentiation() -> None:
    turn = rotation(5, 2, 8)
    for function in (rms_norm, lambda x: rotate(x, turn)):
        x = torch.randn(3, 5, 2, 8, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(function, x, eps=1e-6, atol=1e-4)
        torch.testing.assert_close(function(x), function(x.detach()))


def test_rms_norm_by_hand() -> None:
    torch.testing.assert_close(rms_norm(torch.tensor([3.0, 4.0])), torch.tensor([3.0, 4.0]) / 12.5**0.5)


def test_uneven_heads_are_refused() -> None:
    with pytest.raises(ValueError, match="width 10 does not split into 4 heads"):
        InContext(IctConfig(heads=4), width=10, text_width=4)


def test_without_chains_of_thought_an_example_is_two_tokens_and_nothing_is_reconstructed() -> None:
    torch.manual_seed(0)
    bare = InContext(IctConfig(use_cot=False, use_text=False), width=WIDTH, text_width=TEXT)
    assert not hasattr(bare, "text")
    assert not bare.reconstructs
    r_UW, label = torch.randn(3, WIDTH), torch.tensor([0, 1, 0])
    tokens = bare.tokens(r_UW, torch.randn(3, TEXT), label)
    assert tokens.shape == (3, 2, WIDTH)
    r, slots = torch.randn(2, WIDTH), torch.tensor([[1, 2], [0, 2]])
    other = bare.tokens(r_UW, torch.randn(3, TEXT), label)
    assert torch.equal(bare(r, tokens, slots)[0], bare(r, other, slots)[0])
    assert not torch.allclose(bare(r, tokens, slots)[0], bare(r, tokens, slots.flip(1))[0], atol=1e-5)


def test_mean_pooling_is_the_normed_mean_of_the_tokens_that_are_there(tokens: torch.Tensor) -> None:
    pooled = InContext(IctConfig(pooling="mean"), width=WIDTH, text_width=TEXT)
    r = torch.randn(2, WIDTH)
    w, predict = pooled(r, tokens, torch.tensor([[1, 2], [0, 3]]))
    both = torch.cat([tokens[1], tokens[2], r[:1]]).mean(dim=0)
    one = torch.cat([tokens[3], r[1:]]).mean(dim=0)
    torch.testing.assert_close(w, rms_norm(torch.stack([both, one])))
    assert predict.shape[1] == 0
    assert not pooled.reconstructs


def test_a_gate_scales_w(ict: InContext, tokens: torch.Tensor) -> None:
    torch.manual_seed(0)
    gated = InContext(IctConfig(gate=True), width=WIDTH, text_width=TEXT)
    assert gated.gate is not None
    r, slots = torch.randn(2, WIDTH), torch.tensor([[1, 2], [0, 3]])
    with torch.no_grad():
        gated.gate.weight.zero_()
        gated.gate.bias.fill_(40.0)
        opened = gated(r, tokens, slots)[0]
        gated.gate.bias.zero_()
        torch.testing.assert_close(gated(r, tokens, slots)[0], opened / 2)


def test_no_examples_at_all_still_give_a_feature(ict: InContext, tokens: torch.Tensor) -> None:
    r = torch.randn(3, WIDTH)
    w, predict = ict(r, tokens, torch.zeros(3, 0, dtype=torch.int64))
    assert torch.isfinite(w).all()
    assert predict.shape == (3, 0, WIDTH)


def test_an_unknown_pooling_is_refused() -> None:
    with pytest.raises(UsageError, match="unknown pooling 'sum'"):
        InContext(IctConfig(pooling="sum"), width=8, text_width=4)


def test_similarities_alone_read_the_nearest_of_each_label_in_any_order() -> None:
    torch.manual_seed(0)
    alone = Similarities(IctConfig(use_similarity=True), width=WIDTH, text_width=TEXT)
    tokens = alone.tokens(torch.zeros(4, WIDTH), torch.zeros(4, TEXT), torch.tensor([1, 0, 1, 1]))
    r = torch.randn(1, WIDTH)
    w, predict = alone(r, tokens, torch.tensor([[1, 2, 0]]), torch.tensor([[0.3, 0.8, 0.0]]))
    wanted = alone.out(torch.tensor([[0.3, 0.8, 0, 0, 0, 0, 0, 0]]))
    torch.testing.assert_close(w, wanted)
    assert predict.shape == (1, 0, WIDTH)
    torch.testing.assert_close(alone(r, tokens, torch.tensor([[2, 0, 1]]), torch.tensor([[0.8, 0.9, 0.3]]))[0], w)
