"""The embedding tables, against plain gathers and sums written out by hand."""

import torch

from ranking.bags import padded_fields
from ranking.embeddings import SparseFields, mean_bag
from ranking.graph import GatherFields
from ranking.layers import FIELDS
from tests import in_memory


def test_torchrec_bags_equal_plain_gathers() -> None:
    """The trained tables and their serving copy pool the same rows to the same embeddings."""
    builder, shape = in_memory.batches()
    fields = SparseFields(shape.tables, width=8)
    requests = builder.rows.requests
    trained = fields(builder(torch.arange(len(requests)), training=False).sparse)
    ids = padded_fields(builder.items, requests.user_B, requests.item_B, requests.history_BL)
    served = GatherFields(fields)(ids)
    assert trained[0].shape == (len(requests), len(FIELDS), 8)
    for left, right in zip(trained, served, strict=True):
        torch.testing.assert_close(left, right)


def test_mean_bag_by_hand() -> None:
    table = torch.tensor([[0.0, 0.0], [1.0, 2.0], [3.0, 4.0]])
    bags = torch.tensor([[0, 1, 2], [0, 0, 2], [0, 0, 0]])
    torch.testing.assert_close(mean_bag(table, bags), torch.tensor([[2.0, 3.0], [3.0, 4.0], [0.0, 0.0]]))
