"""The matching score and its loss, against loops over rows."""

import torch
import torch.nn.functional as F

from core.contracts import HISTORY
from core.settings import Workspace
from ranking.layers import FIELDS, Positions
from ranking.matching import Matching
from ranking.ranker import build
from ranking.recipes import resolve
from tests import in_memory

WS = Workspace("movielens-100k", "shuffled-ties")


def histories(rows: int) -> Positions:
    """Of 0, 1, 2, ... items."""
    place_BL = torch.randint(1, 6, (rows, HISTORY)) * (torch.arange(HISTORY) >= HISTORY - torch.arange(rows)[:, None])
    return Positions(item_GY=torch.randn(6, 12), place_BL=place_BL)


def test_a_score_is_the_scaled_cosine_of_person_and_item() -> None:
    torch.manual_seed(0)
    matching = Matching(width=4, temperature=0.5)
    emb, positions = torch.randn(3, len(FIELDS), 4), histories(3)
    _, _, score = matching(emb, positions)
    recent = matching.recent(positions)
    for row in range(3):
        user, item, brand, category, *history = emb[row]
        query = matching.query(torch.cat([user, *history, recent[row]]))
        key = matching.key(torch.cat([item, brand, category]))
        torch.testing.assert_close(score[row], F.cosine_similarity(query, key, dim=0) / 0.5)


def test_newer_items_weigh_more_by_what_was_learned() -> None:
    matching = Matching(width=4)
    positions = histories(3)
    recent = matching.recent(positions)
    for row in range(3):
        places = positions.place_BL[row]
        weight = matching.recency_L.exp() * (places > 0)
        expected = sum(w * positions.item_GY[place] for w, place in zip(weight, places, strict=True))
        torch.testing.assert_close(recent[row], expected / weight.sum().clamp(min=1e-6))
    assert not recent[0].any(), "an empty history"
    with torch.no_grad():
        matching.recency_L.zero_()
    mean = positions.item_GY[positions.place_BL[2][positions.place_BL[2] > 0]].mean(dim=0)
    torch.testing.assert_close(matching.recent(positions)[2], mean)


def test_every_positive_is_ranked_against_all_negatives_of_the_batch() -> None:
    torch.manual_seed(0)
    matching = Matching(width=4)
    label = torch.tensor([1.0, 0.0, 0.0, 1.0, 0.0])
    query, key, score = matching(torch.randn(5, len(FIELDS), 4), histories(5))
    losses = []
    for positive in (0, 3):
        others = [query[positive] @ key[negative] / 0.1 for negative in (1, 2, 4)]
        logits = torch.stack([score[positive], *others])
        losses.append(F.cross_entropy(logits[None], torch.tensor([0])))
    torch.testing.assert_close(matching.loss(query, key, score, label), sum(losses) / 2)


def test_a_batch_without_a_positive_teaches_nothing() -> None:
    torch.manual_seed(0)
    matching = Matching(width=4)
    query, key, score = matching(torch.randn(2, len(FIELDS), 4), histories(2))
    loss = matching.loss(query, key, score, torch.zeros(2))
    loss.backward()
    assert loss.item() == 0.0
    assert all(one.grad is None or not one.grad.any() for one in matching.parameters())


def test_its_score_enters_the_logit_and_its_loss_the_training_alone() -> None:
    batches, shape = in_memory.batches(recipe="best")
    model = build(resolve(WS, model="deepfm", framework="none", recipe="best", seed=1), shape)
    batch = batches(torch.arange(40), training=False)
    assert model.matching is not None
    assert model(batch).added_loss > 0
    model.eval()
    before = model(batch)
    assert before.added_loss == 0
    with torch.no_grad():
        model.matching.query.weight.add_(0.1)
    assert not torch.allclose(before.logits_B, model(batch).logits_B)
    assert build(resolve(WS, model="deepfm", framework="none", recipe="strict", seed=1), shape).matching is None
