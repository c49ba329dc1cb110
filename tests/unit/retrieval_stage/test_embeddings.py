"""TorchRec's table equals a plain one, and pads with zeros."""

import pytest
import torch
from torch.testing import assert_close

from core.contracts import PAD, UNKNOWN
from retrieval_stage.embeddings import DenseTable, EmbeddingTable

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
