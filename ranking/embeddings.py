"""The embedding tables, TorchRec's. Suffixes: X rows with any fields, F sparse fields, D embedding width, T tables, Y
columns of a table, N ids of a bag, V rows of a table."""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchrec import EmbeddingBagCollection, EmbeddingBagConfig, KeyedJaggedTensor, PoolingType

from core.contracts import PAD
from ranking.layers import SIDES, TABLES, Sizes

_FIRST_ORDER = 4  # columns for the first-order weight: one is used, but FBGEMM wants a multiple of four
_DEVIATION = 0.01  # of initial embeddings


class SparseFields(nn.Module):
    """The mean-pooled embedding of every field, and the sum of the fields' first-order weights.

    A table's column after the embedding is the first-order weight: on a CPU the cost of a lookup hardly depends on the
    width, so a second set of tables would double it.
    """

    def __init__(self, sizes: Sizes, width: int) -> None:
        super().__init__()
        self.width = width
        rows = {"user": sizes.user, "item": sizes.item, "brand": sizes.brand, "category": sizes.category}
        self.tables = EmbeddingBagCollection(tables=[_table(name, count, width) for name, count in rows.items()])

    def forward(self, sparse: KeyedJaggedTensor) -> tuple[Tensor, Tensor]:
        """Return embeddings (X, F, D), fields in the order of `FIELDS`, and first-order sums (X,)."""
        target_XTY, history_XTY = self.tables(sparse).values().unflatten(1, (len(TABLES), -1)).chunk(SIDES)
        return split_first_order([target_XTY, history_XTY[:, 1:]], self.width)

    def weights(self) -> dict[str, Tensor]:
        """A copy of the tables by name, (rows, D + first-order columns), with zeros for padding."""
        bags = self.tables.embedding_bags.named_children()
        copies = {name: bag.get_parameter("weight").detach().clone() for name, bag in bags}
        for table in copies.values():
            table[PAD] = 0
        return copies


def split_first_order(pooled: list[Tensor], width: int) -> tuple[Tensor, Tensor]:
    """Part pooled table rows, each (X, some fields, Y), into embeddings (X, F, D) and first-order sums (X,)."""
    emb_XFD = torch.cat([part[:, :, :width] for part in pooled], dim=1)
    return emb_XFD, torch.stack([part[:, :, width].sum(dim=1) for part in pooled]).sum(dim=0)


def _table(name: str, rows: int, width: int) -> EmbeddingBagConfig:
    return EmbeddingBagConfig(
        name=name,
        embedding_dim=width + _FIRST_ORDER,
        num_embeddings=rows,
        feature_names=[name],
        pooling=PoolingType.MEAN,
        init_fn=partial(nn.init.normal_, std=_DEVIATION),
    )


def mean_bag(table_VY: Tensor, ids_XN: Tensor) -> Tensor:
    """A pooled bag of padded ids, (X, Y): the mean of the rows that are no padding, which itself must be a zero row."""
    count_X1 = (ids_XN != PAD).sum(dim=1, keepdim=True).clamp(min=1)
    return F.embedding(ids_XN, table_VY).sum(dim=1) / count_X1
