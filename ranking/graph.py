"""A trained ranker as one graph of dense tensors, fit for ONNX: weights inside, what is known of items beside it.

A request carries ids; the graph looks up what they stand for in tables that a release freezes (`RankerGraph.tables`):
item attributes, text vectors, the tokens of all M examples. A candidate that came after the release has the id UNKNOWN
and brings its brand, categories and text. Candidates of a user come together, so what their history alone decides is
computed once, and texts are projected of new candidates only: half of a request's time. TorchRec modules export with a
fixed batch, so their weights move into plain tables here (tests prove equality).

Suffixes: B candidates, F fields, D embedding width, E text width, L history, K examples, J dense features, M examples +
1, V items, U users, W width of w, N candidates that came after the release, S histories that follow each other.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.contracts import PAD, UNKNOWN
from ict.examples import ExampleSet, history_vectors
from ranking.bags import ItemFields, padded_fields
from ranking.embeddings import SparseFields, mean_bag, split_first_order
from ranking.frameworks.kar import Adaptor
from ranking.frameworks.llm_cf import LlmCf
from ranking.layers import FIELDS, HISTORY, TABLES, Positions
from ranking.ranker import Ranker
from ranking.rows import Knowledge, may_read
from ranking.text_match import centre, centred, cosines

Tensors = Mapping[str, Tensor]
_NEWER = {"user": UNKNOWN, "item": UNKNOWN, "brand": PAD, "category": PAD}  # an id that came after training, by table


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a release freezes beside the weights; None for what its model does not read.

    Args:
        item_vectors_VE: text vectors of all `items`.
    """

    items: ItemFields
    item_vectors_VE: Tensor | None = None
    examples: ExampleSet | None = None
    knowledge: Knowledge | None = None

    @property
    def text_width(self) -> int:
        """Of the texts that a request brings."""
        return 0 if self.item_vectors_VE is None else self.item_vectors_VE.shape[1]


class GatherFields(nn.Module):
    """`SparseFields` over a trained copy of its tables, with gathers in place of jagged bags."""

    def __init__(self, fields: SparseFields) -> None:
        super().__init__()
        self.width = fields.width
        self.weights = nn.ParameterDict({name: nn.Parameter(table) for name, table in fields.weights().items()})

    def forward(self, ids: Tensors, which_B: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return embeddings (B, F, D) and first-order sums (B,) of the padded ids of each field.

        Args:
            which_B: the history of each row among those that `ids` holds; each row has its own if it is not given.
        """
        pooled = [self._pooled(table, ids[field]) for field, table in FIELDS.items()]
        if which_B is not None:
            pooled[HISTORY] = [one_SY[which_B] for one_SY in pooled[HISTORY]]
        return split_first_order([torch.stack(pooled, dim=1)], self.width)

    def targets(self, items: ItemFields) -> Tensor:
        """The target fields of every item side by side, (V, Y); row 0 is zero."""
        ids = {"item": torch.arange(len(items.brand_V))[:, None], "brand": items.brand_V[:, None]}
        ids["category"] = items.categories_VC
        return torch.cat([self._pooled(name, ids[name])[:, : self.width] for name in TABLES[1:]], dim=1)

    def _pooled(self, table: str, ids_XN: Tensor) -> Tensor:
        weight = self.weights[table]
        return mean_bag(weight, torch.where(ids_XN < len(weight), ids_XN, _NEWER[table]))


class InContextGraph(nn.Module):
    """w of a request, from the tables of all items' texts and all examples' tokens."""

    def __init__(self, model: LlmCf) -> None:
        super().__init__()
        self.model = model

    def tables(self, fields: GatherFields, facts: Facts) -> dict[str, Tensor]:
        """What the weights make of the facts: the examples' tokens and, where texts are read, the items' texts."""
        examples, vectors_VE = facts.examples, facts.item_vectors_VE
        assert examples is not None, "this framework needs in-context examples"
        assert vectors_VE is not None, "examples have text vectors"
        item_VW = self.model.ict.texts(vectors_VE)
        texts = {} if item_VW is None else {"vectors_VE": vectors_VE, "item_text_VW": item_VW}
        emb_MFD, _ = fields(padded_fields(facts.items, examples.user_M, examples.item_M, examples.history_ML))
        item_MW = None if item_VW is None else item_VW[examples.item_M]
        history_MW = None if item_VW is None else self._projected(history_vectors(vectors_VE, examples.history_ML))
        r_MW = self.model.represent(emb_MFD, item_MW, history_MW)
        return {**texts, "tokens_M3W": self.model.ict.tokens(r_MW, examples.cot_ME, examples.label_M)}

    @property
    def reads_text(self) -> bool:
        return self.model.ict.config.use_text

    def forward(self, emb_BFD: Tensor, distinct: "_Distinct", request: Tensors, tables: Tensors) -> Tensor:
        """Return w, (B, W)."""
        item_BW = history_BW = None
        if self.reads_text:
            item_BW = _of_texts(request, tables["item_text_VW"], self._projected)
            history_SW = self._projected(history_vectors(tables["vectors_VE"], distinct.history_SL))
            history_BW = history_SW[distinct.which_B]
        r_BW = self.model.represent(emb_BFD, item_BW, history_BW)
        return self.model.ict(r_BW, tables["tokens_M3W"], request["examples"], request.get("similarity"))[0]

    def _projected(self, text_XE: Tensor) -> Tensor:
        text_XW = self.model.ict.texts(text_XE)
        assert text_XW is not None, "this configuration reads texts"
        return text_XW


class KnowledgeGraph(nn.Module):
    """KAR's two vectors of a request, from tables of what the adaptor makes of every text."""

    def __init__(self, model: Adaptor) -> None:
        super().__init__()
        self.model = model

    def tables(self, knowledge: Knowledge) -> dict[str, Tensor]:
        there_V1 = knowledge.item_VE.any(dim=1, keepdim=True)
        return {
            "user_UD": self.model.adapt("user", knowledge.user_UE),
            "item_VD": self.model.adapt("item", knowledge.item_VE) * there_V1,
            "prefix_U": knowledge.prefix_U,
        }

    def forward(self, request: Tensors, tables: Tensors) -> tuple[Tensor, Tensor]:
        """Return the user's and the item's vector, (B, D); zeros where a row may read no text."""
        user_B = request["user"]
        there_B = may_read(tables["prefix_U"][user_B], request["history"])
        return tables["user_UD"][user_B] * there_B[:, None], tables["item_VD"][request["item"]]


class RankerGraph(nn.Module):
    """P(click) of each candidate, from the inputs of `contracts.RANKER_INPUTS` that its framework and recipe read."""

    def __init__(self, model: Ranker, *, attends: bool, text_match: bool) -> None:
        super().__init__()
        self.model = model
        self.attends, self.text_match = attends, text_match
        self.fields = GatherFields(model.fields)
        self.in_context = None if model.llm_cf is None else InContextGraph(model.llm_cf)
        self.knowledge = None if model.kar is None else KnowledgeGraph(model.kar)

    @property
    def reads(self) -> list[str]:
        """Names of the inputs."""
        names = ["user", "item", "history", "brand", "categories"]
        if self.model.dense is not None:
            names.append("dense")
        if self.in_context is not None:
            names.append("examples")
            names += ["similarity"] if self.in_context.model.ict.config.use_similarity else []
        if self.text_match or (self.in_context is not None and self.in_context.reads_text):
            names.append("text")
        return names

    @torch.no_grad()
    def tables(self, facts: Facts) -> dict[str, Tensor]:
        """What the graph looks up, computed with the weights as they are."""
        found = {"brand_V": facts.items.brand_V, "categories_VC": facts.items.categories_VC}
        if self.in_context is not None:
            found |= self.in_context.tables(self.fields, facts)
        if self.knowledge is not None:
            assert facts.knowledge is not None, "this framework needs texts about users and items"
            found |= self.knowledge.tables(facts.knowledge)
        if self.text_match:
            assert facts.item_vectors_VE is not None, "this recipe reads text vectors"
            mean_E = centre(facts.item_vectors_VE)
            found |= {"centred_VE": centred(facts.item_vectors_VE, mean_E), "mean_1E": mean_E[None]}
        if self.attends:
            found["item_VY"] = self.fields.targets(facts.items)
        return found

    def forward(self, request: Tensors, tables: Tensors) -> Tensor:
        """Return probabilities, (B,)."""
        distinct = _Distinct.of(request["history"])
        emb_BFD, first_B = self.fields(_ids(distinct.history_SL, request, tables), distinct.which_B)
        vectors: tuple[Tensor, ...] = ()
        if self.in_context is not None:
            vectors += (self.in_context(emb_BFD, distinct, request, tables),)
        if self.knowledge is not None:
            vectors += self.knowledge(request, tables)
        dense_BJ = request.get("dense")
        if self.text_match:
            assert dense_BJ is not None, "this model reads dense features"
            dense_BJ = torch.cat([dense_BJ, self._text_match(request, tables)], dim=1)
        positions = Positions(item_GY=tables["item_VY"], place_BL=request["history"]) if self.attends else None
        return self.model.score(emb_BFD, first_B, vectors, dense_BJ, positions).sigmoid()

    def _text_match(self, request: Tensors, tables: Tensors) -> Tensor:
        mean_E = tables["mean_1E"][0]
        item_BE = _of_texts(request, tables["centred_VE"], lambda text_NE: centred(text_NE, mean_E))
        return cosines(tables["centred_VE"], item_BE, request["history"])


@dataclass(frozen=True, slots=True)
class _Distinct:
    """The histories that differ from the one before, and which of them is each row's: a user's candidates, which come
    together, share one, and what is made of it."""

    history_SL: Tensor
    which_B: Tensor

    @classmethod
    def of(cls, history_BL: Tensor) -> "_Distinct":
        changed_B = F.pad((history_BL[1:] != history_BL[:-1]).any(dim=1), (1, 0), value=True)
        return cls(history_BL[changed_B.nonzero().squeeze(1)], changed_B.cumsum(dim=0) - 1)


def _ids(history_SL: Tensor, request: Tensors, tables: Tensors) -> dict[str, Tensor]:
    """The padded ids of every field: of B candidates, and of S histories."""
    items = ItemFields(tables["brand_V"], tables["categories_VC"])
    ids = padded_fields(items, request["user"], request["item"], history_SL)
    ids["brand"] = _where_new(request, request["brand"][:, None], ids["brand"])
    ids["category"] = _where_new(request, request["categories"], ids["category"])
    return ids


def _of_texts(request: Tensors, table_VX: Tensor, make: Callable[[Tensor], Tensor]) -> Tensor:
    """What the table has of each candidate, (B, X), and what `make` makes of the texts of those whose id is UNKNOWN."""
    item_B, count = request["item"], request["item"].shape[0]
    new_B = item_B == UNKNOWN
    made_NX = make(request["text"][new_B.nonzero().squeeze(1)])
    at_B = torch.where(new_B, count + new_B.cumsum(dim=0) - 1, torch.arange(count))
    return torch.cat([table_VX[item_B], made_NX])[at_B]


def _where_new(request: Tensors, given_BX: Tensor, known_BX: Tensor) -> Tensor:
    """What the request says of candidates whose id is UNKNOWN, and what the tables say of the others."""
    return torch.where((request["item"] == UNKNOWN)[:, None], given_BX, known_BX)
