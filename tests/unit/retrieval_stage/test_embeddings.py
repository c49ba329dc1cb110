"""TorchRec's tables equal plain ones, and pad with zeros."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close
from torchrec import EmbeddingBagCollection

from core.contracts import PAD, UNKNOWN
from retrieval_stage.embeddings import DenseTable, EmbeddingTable, MeanTable

WIDTH = 8


@pytest.mark.parametrize("ids", [torch.tensor([4, 0, 2]), torch.tensor([[0, 0, 3], [0, 4, 4], [0, 0, 0]])])
def test_torchrec_table_looks_up_what_a_plain_one_does(ids: torch.Tensor) -> None:
    table = EmbeddingTable("item", 5, WIDTH)
    plain = DenseTable(table.weight, UNKNOWN)
    assert_close(table(ids), plain(ids))
    assert (table(ids)[ids == PAD] == 0).all()
    table(ids).square().sum().backward()
    assert table.weight.grad is not None
    touched = (table.weight.grad != 0).any(dim=1)
    assert touched.nonzero().flatten().tolist() == sorted(set(ids.flatten().tolist()) - {PAD})


def test_an_id_beyond_the_table_is_unknown() -> None:
    plain = DenseTable(EmbeddingTable("item", 5, WIDTH).weight, UNKNOWN)
    assert_close(plain(torch.tensor([5, 99])), plain(torch.tensor([UNKNOWN, UNKNOWN])))


def test_a_table_of_means_is_torchrecs_and_equals_a_plain_bag_bit_for_bit() -> None:
    """Drawn alike, too: what runs of recipe best have on record is of the plain one."""
    ids_VX = torch.tensor([[PAD, PAD, PAD], [2, PAD, 5], [3, 3, 4], [PAD, 5, PAD]])
    torch.manual_seed(7)
    plain = nn.EmbeddingBag(6, WIDTH, mode="mean", padding_idx=PAD)
    nn.init.normal_(plain.weight, std=0.05)
    drawn = torch.get_rng_state()
    torch.manual_seed(7)
    table = MeanTable("attribute", ids_VX, WIDTH)
    assert isinstance(table.collection, EmbeddingBagCollection)
    assert torch.equal(torch.get_rng_state(), drawn)
    assert list(table.state_dict()) == ["collection.embedding_bags.attribute.weight"], "the ids are no weights"
    assert torch.equal(table(), plain(ids_VX))
    assert not table()[0].any()
    for found in (table(), plain(ids_VX)):
        found.square().sum().backward()
    assert table.weight.grad is not None
    assert plain.weight.grad is not None
    assert torch.equal(table.weight.grad, plain.weight.grad)
    assert not table.weight.grad[PAD].any()
