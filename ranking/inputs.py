"""What a run reads: which folders its configuration asks for, and the same loaded, ready to be batched."""

from pathlib import Path

import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file
from torch import Tensor

from core import steps
from core.contracts import SEQUENCE
from core.data import tables
from core.remedies import cot_verbs
from core.settings import Workspace
from ict import neighbours
from ict.examples import ExampleSet, integers
from ranking.bags import ItemFields
from ranking.batch import BatchBuilder
from ranking.configs import RankerConfig
from ranking.ranker import Shape, attends
from ranking.rows import Context, Histories, Knowledge, Rows
from ranking.text_match import TextMatch


def needs(ws: Workspace, config: RankerConfig) -> list[tuple[Path, str]]:
    """The folders that a run is made from, each with the verb that fills it."""
    found = [(ws.path("data"), "data prepare"), (ws.path("training"), "features join")]
    if config.uses_examples:
        parts = zip(("texts", "vectors"), cot_verbs(config.text_set), strict=True)
        found += [(ws.cot(part, config.text_set), verb) for part, verb in parts]
    elif config.text_match:
        found.append((ws.cot("vectors"), "cot embed --items-only"))
    if config.uses_knowledge:
        found.append((ws.path("kar", "vectors"), "kar embed"))
    if config.uses_teacher:
        found.append((ws.path("scores", config.teacher), "recgen score"))
    if config.sequence:
        found.append((ws.path("scores", SEQUENCE), "retrieve date-scores"))
    return found


def rests_on(ws: Workspace, config: RankerConfig) -> list[tuple[Path, str]]:
    """The same folders, and the texts that KAR's vectors are of, where they are still there."""
    texts = ws.path("kar", "texts")
    beneath = [(texts, "kar generate")] if config.uses_knowledge and texts.exists() else []
    return [*beneath, *needs(ws, config)]


def folders(ws: Workspace, config: RankerConfig) -> list[Path]:
    """What a run is made from, all of it there. Neighbours are not among them: what they are made from is.

    Raises:
        LlmcfError: for the first that is missing, or of other rows than today's, naming the verb that fills it.
    """
    for folder, verb in rests_on(ws, config):
        steps.require_current(folder, tables.remedy(ws, verb))
    return [folder for folder, _ in needs(ws, config)]


def prepare(ws: Workspace, config: RankerConfig) -> None:
    """Make what several processes of a run only read: the neighbours, where they are not current."""
    if config.uses_examples:
        neighbours.prepare(ws, config.neighbours)


def load(ws: Workspace, config: RankerConfig) -> tuple[BatchBuilder, Shape]:
    """The rows of a workspace, ready to be batched, and the sizes of the model they need."""
    table = tables.training_rows(ws)
    rows = Rows.of(table)
    histories = Histories.of(rows.requests)
    items = ItemFields.of(tables.items(ws))
    users = int(tables.users(ws)["user"].to_numpy().max()) + 1
    context = knowledge = text_match = None
    text_width = 0
    if config.uses_examples:
        examples = ExampleSet.load(ws, config.in_context.cot_set, table)
        found = neighbours.neighbours(ws, config.neighbours, rows.requests, examples)
        context = Context.of(histories, examples, found)
        text_width = examples.item_vectors_VE.shape[1]
    if config.uses_knowledge:
        stored = load_file(ws.path("kar", "vectors", "vectors.safetensors"))
        knowledge = Knowledge(stored["user"], stored["item"], stored["prefix"].long())
        text_width = stored["user"].shape[1]
    if config.text_match:
        vectors_VE = load_file(ws.cot("vectors", config.text_set) / "vectors.safetensors")["items"]
        text_match = TextMatch.of(vectors_VE, rows.requests.item_B, rows.requests.history_BL)
    builder = BatchBuilder.of(
        rows,
        histories,
        items,
        users,
        context=context,
        knowledge=knowledge,
        teacher_N=_scores(ws, config.teacher, "p_yes", rows.row_N) if config.uses_teacher else None,
        text_match=text_match,
        sequence_N=_scores(ws, SEQUENCE, "score", rows.row_N).nan_to_num(0.0) if config.sequence else None,
        attends=attends(config),
        id_dropout=config.id_dropout,
        example_dropout=config.in_context.example_dropout,
    )
    return builder, Shape(tables=items.sizes(users), text_width=text_width)


def coverage(batches: BatchBuilder) -> dict[str, float]:
    """The share of an epoch's rows that have what the framework reads: a teacher's score, a text, all K examples."""
    train_N = batches.rows.of_epoch(1)
    found: dict[str, float] = {}
    if batches.context is not None:
        found["examples"] = _share((batches.context.neighbours.examples_NK[train_N] > 0).all(dim=1))
    if batches.teacher_N is not None:
        found["teacher"] = _share(~batches.teacher_N[train_N].isnan())
    if batches.knowledge is not None:
        requests = batches.rows.requests
        parts = (requests.user_B[train_N], requests.item_B[train_N], requests.history_BL[train_N])
        user_N, item_N = batches.knowledge.subjects(*parts)
        found |= {"user_texts": _share(user_N >= 0), "item_texts": _share(item_N >= 0)}
    return found


def _share(there_N: Tensor) -> float:
    return round(float(there_N.float().mean()), 4)


def _scores(ws: Workspace, scorer: str, column: str, row_N: Tensor) -> Tensor:
    """What another model says of every row, NaN where it says nothing."""
    scores = pq.read_table(ws.path("scores", scorer, "scores.parquet"))
    score_N = torch.full((len(row_N),), torch.nan)
    score_N[torch.searchsorted(row_N, integers(scores, "row"))] = torch.from_numpy(
        scores[column].to_numpy().astype("float32")
    )
    return score_N
