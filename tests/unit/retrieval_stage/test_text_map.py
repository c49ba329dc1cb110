"""The map from texts into the item space."""

import pytest
import torch
from torch.testing import assert_close

from retrieval_stage.text_map import TextMap

V, E, D = 400, 6, 4
WEIGHT_ED = torch.randn(E, D, generator=torch.Generator().manual_seed(0))
TEXT_VE = torch.nn.functional.normalize(torch.randn(V, E, generator=torch.Generator().manual_seed(1)), dim=1)


def test_it_finds_a_linear_map_and_places_items_that_it_did_not_see() -> None:
    item_VD = TEXT_VE @ WEIGHT_ED + 0.3
    taken_V = torch.full((V,), 20)
    taken_V[:100] = 0
    item_VD[:100] = 9.0  # what an item that nobody took holds is not looked at
    found = TextMap.fit(TEXT_VE, item_VD, taken_V)
    assert_close(found(TEXT_VE[:100]), TEXT_VE[:100] @ WEIGHT_ED + 0.3, atol=0.02, rtol=0)


def test_what_was_taken_seldom_counts_less() -> None:
    item_VD = TEXT_VE @ WEIGHT_ED
    noise = torch.randn(V, D, generator=torch.Generator().manual_seed(2))
    taken_V = torch.where(torch.arange(V) % 2 == 0, 100, 1)
    noisy_VD = torch.where((taken_V == 1)[:, None], item_VD + noise, item_VD)
    gaps = [
        (TextMap.fit(TEXT_VE, noisy_VD, taken)(TEXT_VE) - item_VD).abs().mean().item()
        for taken in (taken_V, torch.full((V,), 100))
    ]
    assert gaps[0] < 0.8 * gaps[1]


def test_nothing_taken_is_refused() -> None:
    with pytest.raises(ValueError, match="no item was taken"):
        TextMap.fit(TEXT_VE, TEXT_VE @ WEIGHT_ED, torch.zeros(V))
