"""A trained user tower as one graph of dense tensors, fit for ONNX, with the examples' tokens in a table beside it.

TorchRec modules export at a fixed batch only, so the tables become nn.Embedding first. A request brings example
numbers, nothing else of them. Where the texts' evidence is blended in, the vector goes on with the text of the user's
last item times its weight, and where unseen items get a constant, with that: against item vectors that go on with
their texts and with whether they are unseen (`item_space`), one inner product is the blended score.

Suffixes: B requests, L history length, K examples, M examples + 1, V items, E text width, D width, W vector width.
"""

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from core.contracts import UNKNOWN
from ict.examples import history_vectors
from retrieval_stage.controls import last_text
from retrieval_stage.embeddings import DenseTable
from retrieval_stage.user_tower import UserTower

Tensors = Mapping[str, Tensor]


class UserVectorGraph(nn.Module):
    """A copy of a trained tower over plain tables; takes the `contracts.USER_VECTOR_INPUTS` that it reads.

    Args:
        text_weight: of the texts' evidence, 0 for none; `unseen_weight` what items get that training has not seen.
        text_VE: the items' text vectors, where there is a weight; those that the tower reads, if it reads any.
    """

    def __init__(
        self, tower: UserTower, *, text_weight: float = 0.0, unseen_weight: float = 0.0, text_VE: Tensor | None = None
    ) -> None:
        super().__init__()
        self.text_weight, self.unseen_weight = text_weight, unseen_weight
        self._text_VE = text_VE if text_weight else None
        self.tower = copy.deepcopy(tower)
        with torch.no_grad():
            for name, weight in (("user", tower.user.weight), ("item", tower.items().weight)):
                self.tower.set_submodule(name, DenseTable(weight, UNKNOWN))
        self.tower.features = None  # the table holds them
        self.eval()

    @property
    def reads(self) -> list[str]:
        """Names of the inputs."""
        if self.tower.context is None:
            return ["user", "history"]
        similarity = ["similarity"] if self.tower.context.ict.config.use_similarity else []
        return ["user", "history", "examples", *similarity]

    @torch.no_grad()
    def tables(self) -> dict[str, Tensor]:
        """What the graph looks up: the items' texts and the tokens of the tower's examples, with the weights as they
        are. What came after training is UNKNOWN to its tables, and has its text all the same."""
        texts = {} if self._text_VE is None else {"vectors_VE": self._text_VE}
        context = self.tower.context
        if context is None:
            return texts
        self.tower.freeze_examples()
        return {"vectors_VE": context.item_vectors_VE, "tokens_M3D": context.tokens_M3D}

    def forward(self, request: Tensors, tables: Tensors) -> Tensor:
        """Return user vectors, (B, W), as `item_space` scores items by them."""
        parts = [self._towers(request, tables)]
        if self.text_weight:
            parts.append(self.text_weight * last_text(tables["vectors_VE"], request["history"]))
        if self.unseen_weight:
            parts.append(torch.full_like(parts[0][:, :1], self.unseen_weight))
        return torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]

    def _towers(self, request: Tensors, tables: Tensors) -> Tensor:
        """The tower's vectors, (B, D)."""
        tower, history_BL = self.tower, request["history"]
        user_BD = tower.users(request["user"])
        state_BD = tower.states(history_BL, user_BD)[:, -1]
        vector_BD = tower.combine(state_BD, user_BD)
        if tower.context is None:
            return vector_BD
        r_BD = tower.context.represent_requests(user_BD, state_BD, history_vectors(tables["vectors_VE"], history_BL))
        w_BD = tower.context.ict(r_BD, tables["tokens_M3D"], request["examples"], request.get("similarity"))[0]
        return tower.add_feature(vector_BD, w_BD)
