"""A trained ranker as one graph of dense tensors, fit for ONNX: its inputs are facts of a request, not tables.

The catalogue, the text vectors and the tokens of all M examples are constants of the graph, so a request carries ids
only. TorchRec modules export with a fixed batch, so their weights move into plain tables here (tests prove equality).

Suffixes: B candidates, F fields, D embedding width, E text width, L history, K examples, J dense features,
M examples + 1, V items, W width of w.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ict.examples import ExampleSet
from ranking.batch import Catalogue, padded_fields
from ranking.frameworks.llm_cf import LlmCf
from ranking.frameworks.plain import Plain
from ranking.layers import FIELDS, SparseFields, mean_bag, split_first_order
from ranking.registry import Ranker


class GatherFields(nn.Module):
    """`SparseFields` over a trained copy of its tables, with gathers in place of jagged bags."""

    def __init__(self, fields: SparseFields, catalogue: Catalogue) -> None:
        super().__init__()
        self.width = fields.width
        self.tables = nn.ParameterDict({name: nn.Parameter(table) for name, table in fields.weights().items()})
        self.brand_V: Tensor
        self.categories_VC: Tensor
        self.register_buffer("brand_V", catalogue.brand_V)
        self.register_buffer("categories_VC", catalogue.categories_VC)

    def forward(self, user_B: Tensor, item_B: Tensor, history_BL: Tensor) -> tuple[Tensor, Tensor]:
        """Return embeddings (B, F, D) and first-order sums (B,)."""
        ids = padded_fields(Catalogue(self.brand_V, self.categories_VC), user_B, item_B, history_BL)
        pooled = [mean_bag(self.tables[table], ids[field]) for field, table in FIELDS.items()]
        return split_first_order(torch.stack(pooled, dim=1), self.width)


class ServedInContext(nn.Module):
    """w of a request, from constants: the vectors of all items and the tokens of all examples."""

    def __init__(self, model: LlmCf, fields: GatherFields, examples: ExampleSet) -> None:
        super().__init__()
        self.model = model
        self.vectors_VE: Tensor
        self.item_text_VW: Tensor
        self.tokens_M3W: Tensor
        self.register_buffer("vectors_VE", examples.item_vectors_VE)
        self.register_buffer("item_text_VW", self.model.ict.text(self.vectors_VE))
        emb_MFD, _ = fields(examples.user_M, examples.item_M, examples.history_ML)
        r_MW = self.encode(emb_MFD, examples.item_M, examples.history_ML)
        self.register_buffer("tokens_M3W", self.model.ict.tokens(r_MW, examples.cot_ME, examples.label_M))

    def forward(
        self, emb_BFD: Tensor, item_B: Tensor, history_BL: Tensor, examples_BK: Tensor, similarity_BK: Tensor | None
    ) -> Tensor:
        """Return w, (B, W)."""
        r_BW = self.encode(emb_BFD, item_B, history_BL)
        return self.model.ict(r_BW, self.tokens_M3W, examples_BK, similarity_BK)[0]

    def encode(self, emb_BFD: Tensor, item_B: Tensor, history_BL: Tensor) -> Tensor:
        """r, (B, W): `LlmCf.represent` with the texts looked up."""
        history_BE = F.normalize(F.embedding(history_BL, self.vectors_VE).sum(dim=1), dim=-1)
        return self.model.represent(emb_BFD, self.item_text_VW[item_B], self.model.ict.text(history_BE))


class ServedRanker(nn.Module):
    """P(click) of each candidate. Takes the `contracts.RANKER_INPUTS` that its framework and recipe read."""

    def __init__(self, model: Ranker, catalogue: Catalogue, examples: ExampleSet | None) -> None:
        super().__init__()
        self.model = model
        self.fields = GatherFields(model.fields, catalogue)
        self.in_context = None
        if isinstance(model, LlmCf):
            assert examples is not None, "this framework needs in-context examples"
            self.in_context = ServedInContext(model, self.fields, examples)

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
        if isinstance(self.model, Plain):
            return self.model.score(emb_BFD, first_B, dense).sigmoid()
        assert self.in_context is not None
        assert examples is not None, "this model reads in-context examples"
        w_BW = self.in_context(emb_BFD, item, history, examples, similarity)
        return self.model.score(emb_BFD, first_B, w_BW, dense).sigmoid()
