"""What a run reads, loaded: sequences, the in-context examples of each positive, and the sizes of the tables."""

from dataclasses import dataclass

import pyarrow as pa
import torch
from torch import Tensor

from core.contracts import FIRST_ID, SPLITS
from core.data import tables
from core.data.histories import Attributes
from core.errors import LlmcfError
from core.remedies import cot_verbs
from core.settings import Workspace
from ict.examples import ExampleSet, Requests, text_vectors
from ict.neighbours import NeighbourConfig, Neighbours, neighbours
from retrieval_stage.configs import RetrievalConfig
from retrieval_stage.item_side import ItemFacts
from retrieval_stage.sequences import Sequences


@dataclass(frozen=True, slots=True)
class TowerData:
    """The data of a workspace as a tower and its loop take them.

    Args:
        rows: `schemas.TRAINING_ROWS`.
        shown: the examples of every positive; K is 0 without LLM-CF.
        examples: the CoT set, or None without LLM-CF.
        users: rows of the user table.
        offered_V: which items are of the catalogue; the first is item FIRST_ID.
        facts: what items' vectors are made of beside their ids, where the configuration reads it.
        texts_VE: the items' text vectors, where it reads them; the rows of padding and of unknown items come first.
    """

    rows: pa.Table
    sequences: Sequences
    shown: Neighbours
    examples: ExampleSet | None
    users: int
    offered_V: Tensor
    facts: ItemFacts | None = None
    texts_VE: Tensor | None = None

    def known_users(self) -> Tensor:
        """Which user ids have training rows, (U,)."""
        known_U = torch.zeros(self.users, dtype=torch.bool)
        known_U[self.sequences.user_N[self.sequences.of_split("train")]] = True
        return known_U


def load(ws: Workspace, config: RetrievalConfig) -> TowerData:
    """What a run under this configuration reads; neighbours are found first where they are not current.

    Raises:
        Missing: if an input is not there, naming the verb that makes it.
    """
    rows = tables.training_rows(ws)
    sequences = Sequences.of(rows)
    examples = ExampleSet.load(ws, config.in_context.cot_set, rows) if config.uses_examples else None
    texts_VE = item_texts(ws, config) if config.reads_texts else None
    return TowerData(
        rows,
        sequences,
        _shown(ws, config, sequences, rows, examples),
        examples,
        users=len(tables.users(ws)) + FIRST_ID,
        offered_V=offered(ws),
        facts=_facts(ws, config, texts_VE),
        texts_VE=texts_VE,
    )


def item_texts(ws: Workspace, config: RetrievalConfig) -> Tensor:
    """The text vectors of all items, (V, E), out of the set that the run's examples come from, if it has any.

    Raises:
        Missing: if they are not there, naming the verb that makes them.
    """
    if not config.uses_examples:
        return text_vectors(ws, tables.remedy(ws, "cot embed --items-only"))["items"]
    chosen = config.in_context.cot_set
    return text_vectors(ws, tables.remedy(ws, cot_verbs(chosen)[1]), chosen)["items"]


def offered(ws: Workspace) -> Tensor:
    """Which items are of the workspace's catalogue, (V,); the first is item FIRST_ID."""
    return torch.from_numpy(tables.items(ws)["offered"].to_numpy())


def require_splits(ws: Workspace, sequences: Sequences) -> None:
    """Nothing can be trained or measured without rows of every split.

    Raises:
        LlmcfError: if one is empty.
    """
    for split in SPLITS:
        if not len(sequences.of_split(split)):
            raise LlmcfError(f"{ws.path('training')} has no {split} rows; choose a later --as-of or another order")


def _facts(ws: Workspace, config: RetrievalConfig, texts_VE: Tensor | None) -> ItemFacts | None:
    if not (config.item_text or config.item_attributes):
        return None
    attributes = Attributes.of(tables.items(ws)) if config.item_attributes else None
    return ItemFacts(texts_VE if config.item_text else None, attributes)


def _shown(
    ws: Workspace, config: RetrievalConfig, sequences: Sequences, rows: pa.Table, examples: ExampleSet | None
) -> Neighbours:
    if examples is None:
        return Neighbours(torch.zeros(len(sequences), 0, dtype=torch.int64), torch.zeros(len(sequences), 0))
    how = NeighbourConfig.of(config.in_context, stage="retrieval", recipe=config.recipe, seed=config.seed)
    found = neighbours(ws, how, Requests.of(rows), examples)
    return Neighbours(found.examples_NK[sequences.row_N], found.similarity_NK[sequences.row_N])
