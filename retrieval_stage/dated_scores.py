"""`llmcf retrieve date-scores`: what a sequence model thought of each row, by models of strictly earlier days.

The days are cut into blocks. The rows of a block are scored by a model that was trained on, and chosen by, rows of days
before the block's first; so the score may be a feature of another model (METHOD 1). It is the inner product of two
dated vectors, of the user at a position and of the item,

    [u, log O - log sum exp(u . v)] . [v, 1]

which is the logarithm of O times the model's softmax over the O items that had been taken by then. Chance gives 0, and
so it is 0 too for an item that nobody had taken and for rows before the first model.

Suffixes: N positives, R rows with their negatives, B rows of a block, V items, O known ones, D width, Y = D + 1.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from core import steps, storage
from core.contracts import FIRST_ID, SEQUENCE
from core.data.tables import remedy
from core.errors import LlmcfError, UsageError
from core.progress import say
from core.result import Result
from core.settings import Workspace
from ict.examples import Requests, integers
from ict.seeding import seed_everything
from retrieval_stage.configs import RetrievalConfig
from retrieval_stage.inputs import TowerData, load
from retrieval_stage.loop import fit
from retrieval_stage.recipes import resolve
from retrieval_stage.runs import IN_CONTEXT_SOURCES, SOURCES, needs
from retrieval_stage.sequences import Sequences
from retrieval_stage.user_tower import UserTower, build

BLOCKS = 6
_OWN = ("dated_scores", "recipes", "runs")
CODE = [*SOURCES, *IN_CONTEXT_SOURCES, *(f"retrieval_stage/{name}.py" for name in _OWN)]
_CHUNK = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """What one model says of the rows of some days; rows are places in the table of training rows.

    Args:
        score_B: of the rows `row_B`.
        trained_X: positives that the model was trained on or chosen by.
        account: for the verb's result.
    """

    row_B: Tensor
    score_B: Tensor
    trained_X: Tensor
    account: dict[str, Any]


def date_scores(ws: Workspace, *, seed: int, blocks: int = BLOCKS, epochs: int | None = None) -> Result:
    """Fill scores/sequence/ with the score of every row that a model can score, and the rows behind each model.

    Raises:
        UsageError: if there are to be fewer than two blocks, or no epoch.
        LlmcfError: if an input is missing, naming the verb that makes it, or no model has rows of earlier days.
    """
    if blocks < 2:
        raise UsageError(f"--blocks {blocks} is not at least 2: the first one has no model")
    config = configured(seed, epochs)
    found = needs(ws, config)
    for folder, verb in found:
        steps.require(folder, remedy(ws, verb))
    step = steps.Step(
        folder=ws.path("scores", SEQUENCE),
        config={"blocks": blocks, "model": asdict(config)},
        inputs=[folder for folder, _ in found],
        code=CODE,
    )
    done = steps.run(step, lambda folder: _work(ws, config, blocks, folder))
    return Result(
        verb="retrieve date-scores",
        workspace=ws,
        seed=seed,
        skipped=done.skipped,
        seconds=done.seconds,
        artifacts={name: str(done.folder / f"{name}.parquet") for name in ("scores", "trained")},
        details=done.summary,
    )


def configured(seed: int, epochs: int | None = None) -> RetrievalConfig:
    """SASRec of recipe `strict` with what makes it quick: shared negatives, and batches without padding."""
    plain = resolve(model="sasrec", framework="none", recipe="strict", seed=seed, epochs=epochs)
    return replace(plain, negatives=2048, trimmed=True)


def first_days(day_N: Tensor, blocks: int) -> list[int]:
    """The first day of each block but the first; blocks hold about equally many positives, and whole days."""
    edges = np.quantile(day_N.numpy(), np.arange(1, blocks) / blocks, method="higher")
    return [int(day) for day in np.unique(edges) if day > int(day_N.min())]


def known_before(data: TowerData, day: int) -> TowerData:
    """What there was before a day: the rows and, as the catalogue, the items that training rows had taken."""
    sequences = data.sequences.before(day)
    taken_V = torch.zeros_like(data.offered_V)
    taken_V[sequences.item_N[sequences.of_split("train")] - FIRST_ID] = True
    return replace(data, sequences=sequences, offered_V=taken_V & data.offered_V)


@torch.no_grad()
def user_vectors(tower: UserTower, sequences: Sequences, index_B: Tensor) -> Tensor:
    """[u, log O - log sum exp(u . v)] of the users of positives, with the history before each, (B, Y)."""
    known_OD = tower.item_vectors()[tower.offered_V]
    parts = []
    for part_B in index_B.split(_CHUNK):
        vector_BD = tower(sequences.user_N[part_B], sequences.history_NL[part_B]) / tower.config.temperature
        level_B1 = log(len(known_OD)) - (vector_BD @ known_OD.T).logsumexp(dim=1, keepdim=True)
        parts.append(torch.cat([vector_BD, level_B1], dim=1))
    return torch.cat(parts)


@torch.no_grad()
def item_vectors(tower: UserTower) -> Tensor:
    """[v, 1] by item id, (V + FIRST_ID, Y); zero of items that nobody had taken."""
    vector_VD = tower.item_vectors()
    known_VY = torch.cat([vector_VD, torch.ones(len(vector_VD), 1)], dim=1) * tower.offered_V[:, None]
    return torch.cat([torch.zeros(FIRST_ID, known_VY.shape[1]), known_VY])


def scored(data: TowerData, config: RetrievalConfig, first_day: int, end_day: int) -> Block | None:
    """The rows of a block by a model of what there was before; None where nothing was to train on or to choose by."""
    known = known_before(data, first_day)
    splits = [known.sequences.of_split(split) for split in ("train", "valid")]
    if not all(map(len, splits)):
        return None
    seed_everything(config.seed)
    tower = build(config, known)
    epochs = fit(tower, known.sequences, known.shown)
    requests = Requests.of(data.rows)
    row_B = torch.nonzero((requests.day_B >= first_day) & (requests.day_B < end_day)).flatten()
    used_N = torch.cat(splits)
    account = {
        "first_day": first_day,
        "last_trained_day": int(known.sequences.day_N[used_N].max()),
        "rows": len(row_B),
        "trained_on": len(splits[0]),
        "items": int(tower.offered_V.sum()),
        "valid_hit@10": max(entry["valid"]["hit@10"] for entry in epochs),
    }
    score_B = scores_of(tower.eval(), data.sequences, requests, row_B)
    return Block(row_B=row_B, score_B=score_B, trained_X=known.sequences.row_N[used_N], account=account)


def scores_of(tower: UserTower, sequences: Sequences, requests: Requests, row_B: Tensor) -> Tensor:
    """The scores of some of the rows, (B,): inner products of the two vectors."""
    width = int(requests.position_B.max()) + 1
    place_N = sequences.user_N * width + sequences.position_N  # ascends, as they are sorted so
    positive_B = torch.searchsorted(place_N, requests.user_B[row_B] * width + requests.position_B[row_B])
    index_U, of_B = torch.unique(positive_B, return_inverse=True)
    user_BY = user_vectors(tower, sequences, index_U)[of_B]
    return (user_BY * item_vectors(tower)[requests.item_B[row_B]]).sum(dim=1)


def check(blocks: Sequence[Block], day_R: Tensor) -> None:
    """Hold the days of all rows against those that their model saw.

    Raises:
        LlmcfError: if a model saw a day of the rows that it scores, or a later one.
    """
    for block in blocks:
        first, last = int(day_R[block.row_B].min()), int(day_R[block.trained_X].max())
        if last >= first:
            raise LlmcfError(f"the model of the rows from day {first} on saw day {last}: its scores would leak")


def _work(ws: Workspace, config: RetrievalConfig, blocks: int, folder: Path) -> dict[str, Any]:
    data = load(ws, config)
    days = first_days(data.sequences.day_N, blocks)
    made: list[Block] = []
    ends = [*days, int(data.sequences.day_N.max()) + 1][1:]
    for first_day, end_day in zip(days, ends, strict=True):
        block = scored(data, config, first_day, end_day)
        if block is not None:
            say(f"a model of days before {first_day}: {block.account}")
            made.append(block)
    if not made:
        raise LlmcfError(f"no day of {ws.path('training')} has training and validation rows before it")
    check(made, integers(data.rows, "day"))
    _write(folder, made, data.rows["row"].to_numpy())
    unscored = len(data.rows) - sum(len(block.row_B) for block in made)
    return {"blocks": [block.account for block in made], "unscored": unscored}


def _write(folder: Path, blocks: Sequence[Block], number_R: np.ndarray) -> None:
    """`scores` and `trained`, which name the model in each line, as the audit reads them."""
    scores, trained = [], []
    for block in blocks:
        model = f"before-{block.account['first_day']}"
        scored_B, trained_X = number_R[block.row_B.numpy()], number_R[block.trained_X.numpy()]
        named = pa.array([model] * len(scored_B), pa.string())
        scores.append(pa.table({"row": scored_B, "model": named, "score": block.score_B.numpy()}))
        trained.append(pa.table({"row": trained_X, "model": pa.array([model] * len(trained_X), pa.string())}))
    for name, parts in (("scores", scores), ("trained", trained)):
        with storage.atomic_path(folder / f"{name}.parquet") as beside:
            pq.write_table(pa.concat_tables(parts), beside, compression="zstd")
