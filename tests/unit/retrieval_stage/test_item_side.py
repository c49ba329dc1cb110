"""Vectors of items out of ids, texts and attributes; one mask a step; what is served is what was trained."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from core.contracts import FIRST_ID, PAD, UNKNOWN
from core.data.histories import Attributes
from retrieval_stage.configs import RetrievalConfig
from retrieval_stage.graph import UserVectorGraph
from retrieval_stage.item_side import ItemFacts
from retrieval_stage.recipes import resolve
from retrieval_stage.user_tower import UserTower

ITEMS, WIDTH, TEXT = 6, 8, 5
ROWS = ITEMS + FIRST_ID
BRAND_V = np.array([PAD, PAD, 2, 3, PAD, 2, 3, 4])
CATEGORY_VC = np.array([[0, 0], [0, 0], [2, 3], [2, 0], [0, 0], [4, 0], [3, 4], [2, 4]])
TEXT_VE = torch.randn(ROWS, TEXT, generator=torch.Generator().manual_seed(0))
FACTS = ItemFacts(TEXT_VE, Attributes(BRAND_V, CATEGORY_VC))


def tower_of(**changes: object) -> UserTower:
    torch.manual_seed(1)
    plain = replace(resolve(model="sasrec", framework="none", recipe="strict", seed=1), width=WIDTH)
    config: RetrievalConfig = replace(plain, **changes)  # pyright: ignore[reportArgumentType]
    return UserTower(config, known_U=torch.ones(4, dtype=torch.bool), items=ROWS, facts=FACTS)


def test_an_item_is_its_id_its_text_and_the_mean_of_its_attributes() -> None:
    tower = tower_of(item_text=True, item_attributes=True).eval()
    assert tower.features is not None
    assert tower.features.text is not None
    assert tower.features.attribute is not None
    item, nothing = 5, 4
    of_attributes = tower.features.attribute.weight[[2, 4 + 5]].mean(dim=0)  # categories lie behind the five brands
    expected = tower.item.weight[item] + tower.features.text(TEXT_VE[item]) + of_attributes
    assert_close(tower.items().weight[item], expected)
    assert_close(tower.item_vectors()[item - FIRST_ID], expected)
    assert_close(tower.items().weight[nothing], tower.item.weight[nothing] + tower.features.text(TEXT_VE[nothing]))
    assert not tower.items()(torch.tensor([PAD])).any()


@pytest.mark.parametrize("name", ["item_text", "item_attributes"])
def test_each_part_can_be_left_out(name: str) -> None:
    tower = tower_of(**{name: True})
    assert tower.features is not None
    assert (tower.features.text is not None) is (name == "item_text")
    assert (tower.features.attribute is not None) is (name == "item_attributes")
    assert tower.items().weight.shape == (ROWS, WIDTH)


def test_a_mask_of_dropout_falls_on_both_sides_and_on_no_evaluation() -> None:
    tower = tower_of(table_dropout=0.5).train()
    items, ids = tower.items(), torch.arange(FIRST_ID, ROWS)
    assert_close(items(ids), tower.catalogue(ids, items)[0])
    assert 0.2 < (items(ids) == 0).float().mean().item() < 0.8
    assert not torch.equal(items(ids), tower.items()(ids)), "another step, another mask"
    assert_close(tower.eval().items()(ids), tower.item.weight[ids])


def test_the_graph_holds_what_items_are_made_of() -> None:
    tower = tower_of(item_text=True, item_attributes=True).eval()
    graph = UserVectorGraph(tower)
    history = torch.tensor([[PAD] * 17 + [3, 5, 7], [PAD] * 20, [UNKNOWN] * 20])
    request = {"user": torch.tensor([2, 3, 10**6]), "history": history}
    assert_close(graph(request, {}), tower(request["user"], history))


def test_xavier_starts_every_matrix() -> None:
    plain, xavier = tower_of(), tower_of(xavier=True)
    assert plain.item.weight.std().item() == pytest.approx(0.05, rel=0.3)
    assert xavier.item.weight.std().item() == pytest.approx((2 / (ROWS + WIDTH)) ** 0.5, rel=0.3)
