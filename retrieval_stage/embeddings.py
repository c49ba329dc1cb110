"""Embedding tables: through TorchRec in training, as plain nn.Embedding in the exported graph."""

import torch
from torch import Tensor, nn
from torchrec import (
    EmbeddingBagCollection,
    EmbeddingBagConfig,
    EmbeddingCollection,
    EmbeddingConfig,
    KeyedJaggedTensor,
    PoolingType,
)

from core.contracts import PAD

_SPREAD = 0.05  # standard deviation of new rows


class EmbeddingTable(nn.Module):
    """One TorchRec table. Padding is never looked up: it is the zero vector."""

    def __init__(self, name: str, rows: int, width: int) -> None:
        super().__init__()
        self.name = name
        table = EmbeddingConfig(
            name=name, feature_names=[name], num_embeddings=rows, embedding_dim=width, init_fn=_scattered
        )
        self.collection = EmbeddingCollection(tables=[table])

    @property
    def weight(self) -> Tensor:
        """(rows, D); the row of PAD is never read."""
        return self.collection.embeddings[self.name].weight  # pyright: ignore[reportReturnType]

    def forward(self, ids: Tensor) -> Tensor:
        """The vectors of ids of shape (B,) or (B, L), in a new last dimension."""
        there = ids != PAD
        lengths_B = there.long() if ids.dim() == 1 else there.sum(dim=1)
        bags = KeyedJaggedTensor(keys=[self.name], values=ids[there], lengths=lengths_B)
        vectors = self.collection(bags)[self.name].values()
        return vectors.new_zeros(*ids.shape, vectors.shape[-1]).masked_scatter(there.unsqueeze(-1), vectors)


class MeanTable(nn.Module):
    """One TorchRec table that is always looked up at the same ids: the mean of each bag's rows, padding left out.

    The ids are data, not weights. An empty bag has the zero vector.

    Args:
        ids_VX: the bags, padded anywhere; the largest id is the table's last row.
    """

    values_Y: Tensor
    lengths_V: Tensor

    def __init__(self, name: str, ids_VX: Tensor, width: int) -> None:
        super().__init__()
        self.name = name
        table = EmbeddingBagConfig(
            name=name,
            feature_names=[name],
            num_embeddings=int(ids_VX.max()) + 1,
            embedding_dim=width,
            pooling=PoolingType.MEAN,
            init_fn=_scattered,
        )
        self.collection = EmbeddingBagCollection(tables=[table])
        there_VX = ids_VX != PAD
        self.register_buffer("values_Y", ids_VX[there_VX], persistent=False)
        self.register_buffer("lengths_V", there_VX.sum(dim=1), persistent=False)

    @property
    def weight(self) -> Tensor:
        """(rows, D); the row of PAD is never read."""
        return self.collection.embedding_bags[self.name].weight  # pyright: ignore[reportReturnType]

    def forward(self) -> Tensor:
        """(V, D)."""
        bags = KeyedJaggedTensor(keys=[self.name], values=self.values_Y, lengths=self.lengths_V)
        return self.collection(bags)[self.name]


class DenseTable(nn.Module):
    """The same lookup for a graph with a dynamic batch; ids beyond the table are `unknown`."""

    def __init__(self, weight: Tensor, unknown: int) -> None:
        super().__init__()
        weight = weight.detach().clone()
        weight[PAD] = 0
        self.unknown = unknown
        self.embedding = nn.Embedding.from_pretrained(weight)

    @property
    def weight(self) -> Tensor:
        return self.embedding.weight

    def forward(self, ids: Tensor) -> Tensor:
        return self.embedding(torch.where(ids < self.embedding.num_embeddings, ids, self.unknown))


def _scattered(weight: Tensor) -> Tensor:
    return nn.init.normal_(weight, std=_SPREAD)
