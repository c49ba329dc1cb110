"""A trained ranker as one graph of dense tensors, fit for ONNX: its inputs are facts of a request, not tables.

The catalogue, the text vectors and the tokens of all M examples are constants of the graph, so a request carries ids
only. TorchRec modules export with a fixed batch, so their weights move into plain tables here (tests prove equality).

Suffixes: B candidates, F fields, D embedding width, E text width, L history, K examples, J dense features,
M examples + 1, V items, U users, W width of w.
"""

import torch
from torch import Tensor, nn

from ict.examples import ExampleSet, history_vectors
from ranking.bags import ItemFields, padded_fields
from ranking.batch import BatchBuilder
from ranking.frameworks.kar import Adaptor
from ranking.frameworks.llm_cf import LlmCf
from ranking.layers import FIELDS, TABLES, Positions, SparseFields, mean_bag, split_first_order
from ranking.ranker import Ranker
from ranking.rows import Knowledge, may_read
from ranking.text_match import text_match


class GatherFields(nn.Module):
    """`SparseFields` over a trained copy of its tables, with gathers in place of jagged bags."""

    def __init__(self, fields: SparseFields, items: ItemFields) -> None:
        super().__init__()
        self.width = fields.width
        self.tables = nn.ParameterDict({name: nn.Parameter(table) for name, table in fields.weights().items()})
        self.brand_V: Tensor
        self.categories_VC: Tensor
        self.register_buffer("brand_V", items.brand_V)
        self.register_buffer("categories_VC", items.categories_VC)

    def forward(self, user_B: Tensor, item_B: Tensor, history_BL: Tensor) -> tuple[Tensor, Tensor]:
        """Return embeddings (B, F, D) and first-order sums (B,)."""
        ids = padded_fields(ItemFields(self.brand_V, self.categories_VC), user_B, item_B, history_BL)
        pooled = [mean_bag(self.tables[table], ids[field]) for field, table in FIELDS.items()]
        return split_first_order([torch.stack(pooled, dim=1)], self.width)

    def items(self) -> Tensor:
        """The target fields of every item side by side, (V, Y); row 0 is zero."""
        ids = {"item": torch.arange(len(self.brand_V))[:, None], "brand": self.brand_V[:, None]}
        ids["category"] = self.categories_VC
        return torch.cat([mean_bag(self.tables[name], ids[name])[:, : self.width] for name in TABLES[1:]], dim=1)


class InContextGraph(nn.Module):
    """w of a request, from constants: the vectors of all items and the tokens of all examples."""

    def __init__(self, model: LlmCf, fields: GatherFields, examples: ExampleSet) -> None:
        super().__init__()
        self.model = model
        self.vectors_VE: Tensor
        self.item_text_VW: Tensor | None
        self.tokens_M3W: Tensor
        self.register_buffer("vectors_VE", examples.item_vectors_VE)
        self.register_buffer("item_text_VW", model.ict.texts(self.vectors_VE))
        emb_MFD, _ = fields(examples.user_M, examples.item_M, examples.history_ML)
        r_MW = self.encode(emb_MFD, examples.item_M, examples.history_ML)
        self.register_buffer("tokens_M3W", model.ict.tokens(r_MW, examples.cot_ME, examples.label_M))

    def forward(
        self, emb_BFD: Tensor, item_B: Tensor, history_BL: Tensor, examples_BK: Tensor, similarity_BK: Tensor | None
    ) -> Tensor:
        """Return w, (B, W)."""
        r_BW = self.encode(emb_BFD, item_B, history_BL)
        return self.model.ict(r_BW, self.tokens_M3W, examples_BK, similarity_BK)[0]

    def encode(self, emb_BFD: Tensor, item_B: Tensor, history_BL: Tensor) -> Tensor:
        """r, (B, W): `LlmCf.represent` with the texts looked up."""
        if self.item_text_VW is None:
            return self.model.represent(emb_BFD, None, None)
        history_BW = self.model.ict.texts(history_vectors(self.vectors_VE, history_BL))
        return self.model.represent(emb_BFD, self.item_text_VW[item_B], history_BW)


class KnowledgeGraph(nn.Module):
    """KAR's two vectors of a request, from constants: what the adaptor makes of every text."""

    def __init__(self, model: Adaptor, knowledge: Knowledge) -> None:
        super().__init__()
        self.user_UD: Tensor
        self.item_VD: Tensor
        self.prefix_U: Tensor
        there_V1 = knowledge.item_VE.any(dim=1, keepdim=True)
        self.register_buffer("user_UD", model.adapt("user", knowledge.user_UE))
        self.register_buffer("item_VD", model.adapt("item", knowledge.item_VE) * there_V1)
        self.register_buffer("prefix_U", knowledge.prefix_U)

    def forward(self, user_B: Tensor, item_B: Tensor, history_BL: Tensor) -> tuple[Tensor, Tensor]:
        """Return the user's and the item's vector, (B, D); zeros where a row may read no text."""
        there_B1 = may_read(self.prefix_U[user_B], history_BL).unsqueeze(1)
        return self.user_UD[user_B] * there_B1, self.item_VD[item_B]


class RankerGraph(nn.Module):
    """P(click) of each candidate. Takes the `contracts.RANKER_INPUTS` that its framework and recipe read."""

    def __init__(self, model: Ranker, batches: BatchBuilder) -> None:
        super().__init__()
        self.model = model
        self.fields = GatherFields(model.fields, batches.items)
        self.in_context = self.knowledge = None
        if model.llm_cf is not None:
            assert batches.context is not None, "this framework needs in-context examples"
            self.in_context = InContextGraph(model.llm_cf, self.fields, batches.context.examples)
        if model.kar is not None:
            assert batches.knowledge is not None, "this framework needs texts about users and items"
            self.knowledge = KnowledgeGraph(model.kar, batches.knowledge)
        self.centred_VE: Tensor | None
        self.register_buffer("centred_VE", batches.text_match.centred_VE if batches.text_match else None)
        self.item_VY: Tensor | None
        self.register_buffer("item_VY", self.fields.items() if batches.attends else None)

    def forward(
        self,
        user: Tensor,
        item: Tensor,
        history: Tensor,
        dense: Tensor | None = None,
        examples: Tensor | None = None,
        similarity: Tensor | None = None,
    ) -> Tensor:
        """Return probabilities, (B,)."""
        emb_BFD, first_B = self.fields(user, item, history)
        vectors: tuple[Tensor, ...] = ()
        if self.in_context is not None:
            assert examples is not None, "this model reads in-context examples"
            vectors += (self.in_context(emb_BFD, item, history, examples, similarity),)
        if self.knowledge is not None:
            vectors += self.knowledge(user, item, history)
        if self.centred_VE is not None:
            assert dense is not None, "this model reads dense features"
            dense = torch.cat([dense, text_match(self.centred_VE, item, history)], dim=1)
        positions = None if self.item_VY is None else Positions(item_GY=self.item_VY, place_BL=history)
        return self.model.score(emb_BFD, first_B, vectors, dense, positions).sigmoid()
