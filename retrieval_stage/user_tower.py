"""The user's side of retrieval: a backbone, the user's own embedding, and the in-context feature where there is one.

    vector = state [+ user] [+ w],     score of an item = vector . its row of the item table

Suffixes: B requests, X positions of windows, L history length, D width, K examples, M examples + 1, U users, V items,
O items on offer.
"""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.contracts import FIRST_ID, HISTORY, PAD, UNKNOWN
from ict.dropout import Dropout
from ict.examples import ExampleSet
from retrieval_stage.configs import RetrievalConfig
from retrieval_stage.embeddings import DenseTable, EmbeddingTable
from retrieval_stage.in_context import InContextFeature
from retrieval_stage.inputs import TowerData
from retrieval_stage.item_side import ItemFacts, ItemFeatures, Items, ItemTable
from retrieval_stage.registry import BACKBONES

_CHUNK = 512


class UserTower(nn.Module):
    """User vectors from user ids, histories and, in framework llm-cf, in-context examples.

    Args:
        known_U: which users had training rows; the others share the UNKNOWN row.
        examples: the CoT set, or None for framework none.
        offered_V: which rows of `item_vectors` are of this workspace's catalogue, all if not given; no other is learnt
            as a negative or ranked. It is not among the weights.
        facts: what items' vectors are made of beside their ids, where the configuration reads it.
    """

    known_U: Tensor
    offered_V: Tensor
    user: EmbeddingTable | DenseTable
    item: EmbeddingTable | DenseTable

    def __init__(
        self,
        config: RetrievalConfig,
        *,
        known_U: Tensor,
        items: int,
        examples: ExampleSet | None = None,
        offered_V: Tensor | None = None,
        facts: ItemFacts | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("known_U", known_U)
        offered_V = torch.ones(items - FIRST_ID, dtype=torch.bool) if offered_V is None else offered_V
        self.register_buffer("offered_V", offered_V, persistent=False)
        self._all = bool(offered_V.all())
        self.user = EmbeddingTable("user", len(known_U), config.width)
        self.item = EmbeddingTable("item", items, config.width)
        self.features = None
        if config.item_text or config.item_attributes:
            parts = {"text": config.item_text, "attributes": config.item_attributes}
            self.features = ItemFeatures(facts, config.width, **parts)
        self._placed: tuple[Tensor, Tensor] | None = None
        self.table_dropout = Dropout(config.table_dropout)
        self.backbone = BACKBONES[config.model].module(config.width, HISTORY, config.backbone)
        self.context = self.fuse = None
        if examples is not None:
            users = config.user_in_context
            self.context = InContextFeature(examples, config.in_context, config.width, users=users)
            self.fuse = nn.Linear(2 * config.width, config.width) if config.fusion != "add" else None
        if config.xavier:
            for weight in self.parameters():
                if weight.dim() > 1:
                    nn.init.xavier_normal_(weight)

    def items(self) -> Items:
        """The items' vectors, with the weights as they are; in training those of one step."""
        if self.features is None and not (self.training and self.config.table_dropout):
            return self.item
        table_VD = self.item.weight if self.features is None else self.item.weight + self.features()
        return ItemTable(self.table_dropout(table_VD))

    def states(self, history_BL: Tensor, user_BD: Tensor, items: Items | None = None) -> Tensor:
        """The backbone's state after each position, (B, L, D); of one that is not causal only the last counts."""
        return self.backbone((items or self.items())(history_BL), history_BL, user_BD)

    def last_states(self, history_XL: Tensor, user_XD: Tensor, items: Items, size: int) -> Tensor:
        """The states of whole histories, (X, D). Most are short: those of like length go together, `size` at a time,
        without their padding."""
        length_X = (history_XL != PAD).sum(dim=1)
        order_X = length_X.argsort(stable=True)
        states = []
        for group_Y in order_X.split(size):
            longest = max(1, int(length_X[group_Y[-1]]))
            group_YD = user_XD.index_select(0, group_Y)
            states.append(self.states(history_XL[group_Y, -longest:], group_YD, items)[:, -1])
        return torch.cat(states).index_select(0, order_X.argsort())

    def users(self, user_B: Tensor) -> Tensor:
        """(B, D). Ids without training rows, or beyond the vocabulary, are the UNKNOWN user."""
        inside_B = torch.where(user_B < len(self.known_U), user_B, UNKNOWN)
        return self.user(torch.where(self.known_U[inside_B], inside_B, UNKNOWN))

    def combine(self, state_XD: Tensor, user_XD: Tensor) -> Tensor:
        """The user vector without w."""
        return state_XD + user_XD if self.config.user_id else state_XD

    def add_feature(self, vector_XD: Tensor, w_XD: Tensor) -> Tensor:
        """The user vector with w, by the configured fusion."""
        if self.fuse is None:
            return vector_XD + self.config.scale * w_XD
        joined_XD = self.fuse(torch.cat([vector_XD, w_XD], dim=-1))
        return vector_XD + torch.sigmoid(joined_XD) * w_XD if self.config.fusion == "gate" else joined_XD

    def forward(
        self,
        user_B: Tensor,
        history_BL: Tensor,
        examples_BK: Tensor | None = None,
        similarity_BK: Tensor | None = None,
    ) -> Tensor:
        """User vectors, (B, D), after `freeze_examples`. Examples are read by llm-cf, similarity by recipe best."""
        user_BD = self.users(user_B)
        state_BD = self.states(history_BL, user_BD)[:, -1]
        vector_BD = self.combine(state_BD, user_BD)
        if self.context is None:
            return vector_BD
        assert examples_BK is not None, "llm-cf reads in-context examples"
        r_BD = self.context.represent_requests(user_BD, state_BD, self.context.texts_of(history_BL))
        return self.add_feature(vector_BD, self.context(r_BD, examples_BK, similarity_BK))

    def item_vectors(self) -> Tensor:
        """What user vectors are scored against, (V - FIRST_ID, D): row i is item i + FIRST_ID."""
        vectors_VD = self.items().weight[FIRST_ID:]
        return vectors_VD if self._placed is None else vectors_VD.index_copy(0, *self._placed)

    @torch.no_grad()
    def place(self, item_X: Tensor, vector_XD: Tensor) -> None:
        """Score these items by the given vectors, and read their ids, not their texts, as UNKNOWN in histories. After
        training; the vectors are not among the weights."""
        self.item.weight[item_X] = self.item.weight[UNKNOWN].clone()
        self._placed = item_X - FIRST_ID, vector_XD

    def plain(self) -> tuple[RetrievalConfig, dict[str, Tensor]]:
        """A configuration and the weights of a tower that answers as this one and knows nothing of items but their ids:
        what else their vectors are made of is in its table."""
        state = {name: values for name, values in self.state_dict().items() if not name.startswith("features.")}
        (item,) = (name for name in state if name.startswith("item."))
        state[item] = self.items().weight.detach()
        return replace(self.config, item_text=False, item_attributes=False, table_dropout=0.0), state

    def catalogue(self, item_X: Tensor, items: Items) -> tuple[Tensor, Tensor]:
        """The vectors of what is offered, (O, D), and the places in it of `item_X`, ids that are."""
        vectors_VD = items.weight[FIRST_ID:]
        if self._all:
            return vectors_VD, item_X - FIRST_ID
        place_V = self.offered_V.cumsum(0) - 1
        return F.embedding(torch.nonzero(self.offered_V).flatten(), vectors_VD), place_V[item_X - FIRST_ID]

    @torch.no_grad()
    def encode_examples(self) -> None:
        """Bring the examples' states up to date with the backbone."""
        if self.context is not None:
            training = self.training
            self.eval()
            items = self.items()
            examples = self.context.history_ML, self.users(self.context.user_M)
            self.context.state_MD = self.last_states(*examples, items, _CHUNK)
            self.train(training)

    def freeze_examples(self) -> None:
        """Encode the examples and their tokens with the weights as they are now."""
        if self.context is not None:
            self.encode_examples()
            self.context.freeze(self.users, self.items())


def build(config: RetrievalConfig, data: TowerData) -> UserTower:
    """A fresh tower for a configuration; draws its weights from torch's default generator."""
    return UserTower(
        config,
        known_U=data.known_users(),
        items=len(data.offered_V) + FIRST_ID,
        examples=data.examples,
        offered_V=data.offered_V,
        facts=data.facts,
    )
