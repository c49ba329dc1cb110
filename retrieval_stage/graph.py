"""A trained user tower as one graph of dense tensors, fit for ONNX.

TorchRec modules export at a fixed batch only, so the tables become nn.Embedding first. The tokens of all examples sit
in the graph: a request brings example numbers, nothing else of them. Suffixes: B users, W width.
"""

import copy

from torch import Tensor, nn

from core.contracts import UNKNOWN
from retrieval_stage.embeddings import DenseTable, EmbeddingTable
from retrieval_stage.user_tower import UserTower


class UserVectorGraph(nn.Module):
    """A copy of a trained tower over plain tables; takes the `contracts.USER_VECTOR_INPUTS` that it reads."""

    def __init__(self, tower: UserTower) -> None:
        super().__init__()
        self.tower = copy.deepcopy(tower)
        for name, table in (("user", tower.user), ("item", tower.item)):
            assert isinstance(table, EmbeddingTable)
            self.tower.set_submodule(name, DenseTable(table, UNKNOWN))
        self.eval()

    def forward(
        self, user: Tensor, history: Tensor, examples: Tensor | None = None, similarity: Tensor | None = None
    ) -> Tensor:
        """Return user vectors, (B, W)."""
        return self.tower(user, history, examples, similarity)
