"""Text match by hand: cosines around the catalogue's mean, and zeros for what is not there."""

import torch

from core.contracts import HISTORY
from ranking.text_match import TEXT_MATCH, TextMatch, centred, text_match

VECTORS = torch.tensor([[0.0, 0.0], [0.0, 0.0], [1.0, 1.0], [1.0, -1.0], [-1.0, -1.0], [-1.0, 1.0]])


def history(*items: int) -> torch.Tensor:
    return torch.tensor([[0] * (HISTORY - len(items)) + list(items)])


def test_vectors_are_centred_and_items_without_text_stay_zero() -> None:
    shifted = torch.cat([VECTORS[:2], VECTORS[2:] + 5])
    torch.testing.assert_close(centred(shifted), VECTORS / 2**0.5)


def test_mean_nearest_and_last_by_hand() -> None:
    found = text_match(centred(VECTORS), torch.tensor([2]), history(4, 2, 3, 2))[0]
    named = dict(zip(TEXT_MATCH, found.tolist(), strict=True))
    wanted = {"text_mean": 0.25, "text_first": 1.0, "text_second": 1.0, "text_third": 0.0, "text_last": 1.0}
    torch.testing.assert_close(named, wanted | {"text_before_last": 0.0}, atol=1e-6, rtol=0)


def test_what_is_not_there_is_zero() -> None:
    assert not text_match(centred(VECTORS), torch.tensor([2]), history()).any()
    named = dict(zip(TEXT_MATCH, text_match(centred(VECTORS), torch.tensor([2]), history(4))[0].tolist(), strict=True))
    assert named["text_first"] < -0.99, "the nearest may well be far"
    assert named["text_second"] == named["text_before_last"] == 0


def test_features_of_all_rows_are_those_of_each() -> None:
    item, past = torch.randint(0, 6, (5000,)), torch.randint(0, 6, (5000, HISTORY))
    match = TextMatch.of(VECTORS, item, past)
    torch.testing.assert_close(match.features_NJ[4990:], text_match(match.centred_VE, item[4990:], past[4990:]))
