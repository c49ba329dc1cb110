"""What each framework adds to a backbone, against loops over rows."""

import pytest
import torch
import torch.nn.functional as F

from core.settings import Workspace
from ranking.batch import Texts
from ranking.frameworks.kar import Adaptor, Experts
from ranking.frameworks.kd import distillation_loss
from ranking.ranker import build
from ranking.recipes import resolve
from tests import in_memory

WS = Workspace("movielens-100k", "shuffled-ties")


def test_distillation_is_cross_entropy_over_scored_rows_alone() -> None:
    logits, teacher = torch.tensor([0.3, -1.0, 2.0]), torch.tensor([0.9, torch.nan, 0.2])
    each = [F.binary_cross_entropy(logits[row].sigmoid(), teacher[row]) for row in (0, 2)]
    torch.testing.assert_close(distillation_loss(logits, teacher), sum(each) / 2)
    unscored = logits.clone().requires_grad_()
    loss = distillation_loss(unscored, torch.full((3,), torch.nan))
    loss.backward()
    assert loss.item() == 0
    assert unscored.grad is not None
    assert not unscored.grad.any()


@pytest.mark.parametrize("framework", ["none", "kd"])
def test_a_teacher_is_heard_in_training_only(framework: str) -> None:
    config = resolve(WS, model="deepfm", framework=framework, recipe="strict", seed=1)
    batches, shape = in_memory.batches(framework=framework)
    model = build(config, shape)
    batch = batches(torch.arange(40), training=True)
    assert (model(batch).added_loss > 0) == (framework == "kd")
    assert model.eval()(batch).added_loss == 0


def test_knowledge_is_mixed_by_the_gate_of_its_kind() -> None:
    torch.manual_seed(0)
    adaptor = Adaptor(text_width=16, width=8)
    vectors = torch.randn(5, 16)
    for kind in ("user", "item"):
        adapted = adaptor.adapt(kind, vectors)
        gate = adaptor.gate[kind](vectors).softmax(dim=1)
        experts = []
        for group in (adaptor.shared, adaptor.specific[kind]):
            assert isinstance(group, Experts)
            hidden = torch.relu(group.first(vectors)).chunk(len(group.second_SHD), dim=1)
            experts += [h @ w + b for h, w, b in zip(hidden, group.second_SHD, group.bias_SD, strict=True)]
        assert len(experts) == 7
        torch.testing.assert_close(adapted, sum(gate[:, i : i + 1] * one for i, one in enumerate(experts)))
    assert not torch.allclose(adaptor.adapt("user", vectors), adaptor.adapt("item", vectors))


def test_a_row_without_a_text_gets_zeros() -> None:
    adaptor = Adaptor(text_width=16, width=8)
    vectors = torch.randn(2, 16)
    out = adaptor("item", Texts(vectors, torch.tensor([1, -1, 0])))
    torch.testing.assert_close(out[[0, 2]], adaptor.adapt("item", vectors[[1, 0]]))
    assert not out[1].any()
    assert adaptor("item", Texts(vectors[:0], torch.tensor([-1, -1]))).shape == (2, 8)


def test_a_users_text_is_read_only_after_the_interactions_it_tells_of() -> None:
    """The leak to plant: the text tells of three interactions, so earlier rows must not see it."""
    batches, _ = in_memory.batches(framework="kar")
    knowledge, requests = batches.knowledge, batches.rows.requests
    assert knowledge is not None
    at = torch.arange(len(requests))
    made = batches(at, training=False).knowledge
    assert made is not None
    user, item = made
    has_text = (knowledge.prefix_U[requests.user_B] >= 0) & (requests.position_B >= 3)
    assert torch.equal(user.of_B >= 0, has_text)
    assert torch.equal(user.vectors_UE[user.of_B[has_text]], knowledge.user_UE[requests.user_B[has_text]])
    there = knowledge.item_VE[requests.item_B].any(dim=1)
    assert torch.equal(item.of_B >= 0, there)
    assert torch.equal(item.vectors_UE[item.of_B[there]], knowledge.item_VE[requests.item_B[there]])


def test_w_and_knowledge_enter_the_logit() -> None:
    for framework in ("kar", "llm-cf"):
        config = resolve(WS, model="dcn", framework=framework, recipe="strict", seed=1)
        batches, shape = in_memory.batches(framework=framework)
        model = build(config, shape).eval()
        batch = batches(torch.arange(20), training=False)
        before = model(batch).logits_B
        part = model.kar if framework == "kar" else model.llm_cf
        assert part is not None
        with torch.no_grad():
            for weight in part.parameters():
                weight.add_(0.1)
        assert not torch.allclose(before, model(batch).logits_B)
