"""The one training loop of the ranking stage. Suffixes: B rows of a batch, N rows."""

import math
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from core import memory, metrics, processor, storage
from core.contracts import ON_SALE
from core.errors import UsageError
from core.progress import say, track
from core.settings import Workspace
from ict.resume import Checkpoint, Progress, put, untimed
from ict.seeding import seed_everything
from ict.update import update
from ranking import big_tables, weights
from ranking.averaging import Averages
from ranking.batch import Batch, BatchBuilder
from ranking.configs import RankerConfig
from ranking.distributed import ALONE, Group, local_weights, whole_weights
from ranking.inputs import coverage, load
from ranking.ranker import Ranker, build

MEASURED = ("valid", "test", ON_SALE)
_EVALUATION_BATCH = 4096


def fit_and_measure(
    ws: Workspace, config: RankerConfig, folder: Path, checkpoint: Checkpoint, group: Group = ALONE
) -> dict[str, Any]:
    """Fill a run's folder: weights, losses, scores of the validation and test rows. Return metrics and an account.

    A run that was killed goes on from `checkpoint`. Of a group of processes the first writes.
    """
    memory.keep_freed()
    seed_everything(config.seed)
    if config.in_context.precision == "bfloat16" and not processor.multiplies_bfloat16():
        say("this processor has no products in bfloat16: --precision float32 is faster")
    batches, shape = load(ws, config)
    model = build(config, shape)
    with big_tables.process_group(group.device) if big_tables.names(model, config) else nullcontext():
        account = fit(model, batches, config, checkpoint, group)
        state = whole_weights(model, group)
        measured, scores = measure(model, batches, group)
    losses = account.pop("losses")
    if group.rank == 0:
        weights.save(folder / weights.FILE, state, weights.manifest(ws, config, shape))
        storage.write_json(folder / "losses.json", {"steps": losses, "epochs": untimed(account["epochs"])})
        pq.write_table(scores, folder / "scores.parquet", compression="zstd")
    texts = batches.context.examples.count if batches.context else 0
    return {"metrics": measured, "training": account | {"coverage": coverage(batches), "texts": texts}}


def fit(
    model: Ranker,
    batches: BatchBuilder,
    config: RankerConfig,
    checkpoint: Checkpoint | None = None,
    group: Group = ALONE,
) -> dict[str, Any]:
    """Train until validation stops improving; leave the best weights in `model` and return the account.

    In a group, `model` is the same in all processes, and its tables are sharded.

    Raises:
        UsageError: if the loss is not a number.
    """
    rows = batches.rows
    valid_N = rows.of_split("valid")
    if model.dense is not None:
        model.dense.fit(batches.dense(rows.of_epoch(1)))
    size = parameters(model)
    trained = group.distribute(model, config)
    optimizer = optimizer_of(model, config)
    decay = 1 - math.exp(-config.sparse_decay * config.batch / len(rows.of_epoch(1)))
    big = big_tables.Rows(big_tables.weights(model), share=config.averaging, decay=decay)
    big.watch(model)
    averages = Averages(big_tables.others(model), big, config.averaging)
    live = {"model": local_weights(model), "averages": averages.state(), "big tables": big_tables.state(model)}
    progress, best = checkpoint.resume(live, optimizer) if checkpoint else (Progress(), {})
    if progress.epoch:
        say(f"going on after epoch {progress.epoch} of a run that was broken off")
    if len(np.unique(labels_of(batches, valid_N))) < 2:
        raise UsageError("the validation rows are all of one label, so that no epoch is better than another")
    while not progress.over(config.epochs, config.patience):
        epoch, start, done = progress.epoch + 1, time.monotonic(), len(progress.losses)
        for batch in _epoch(batches, rows.of_epoch(epoch if config.redraw else 1), config.batch, epoch, group):
            progress.losses.append(group.mean(train_step(trained, optimizer, batch)))
            averages.step()
        seconds = time.monotonic() - start
        loss = float(np.mean(progress.losses[done:]))
        with averages.in_place():
            auc = metrics.auc(labels_of(batches, valid_N), predict(model, batches, valid_N, group))
            progress.epochs.append({"loss": loss, "valid_auc": auc, "seconds": round(seconds, 2)})
            say(f"epoch {epoch}: loss {loss:.4f}, valid AUC {auc:.4f}, {seconds:.0f} s")
            if auc >= max(line["valid_auc"] for line in progress.epochs):
                best = {name: value.clone() for name, value in live["model"].items()}
                progress.best_epoch = epoch
        if checkpoint:
            checkpoint.save(progress, live, best, optimizer)
    put(live["model"], best)
    return {**asdict(progress), "parameters": size, "processes": group.size}


def optimizer_of(model: Ranker, config: RankerConfig) -> torch.optim.Optimizer:
    """Adam, with a weight decay for the embeddings and the backbone, and one for what a framework adds.

    Big tables are not among them: their optimizer is part of the backward pass.
    """
    added = [weight for part in (model.llm_cf, model.kar) if part is not None for weight in part.parameters()]
    known = set(map(id, added))
    own = [weight for weight in big_tables.others(model) if id(weight) not in known]
    groups = [
        {"params": params, "weight_decay": decay}
        for params, decay in ((own, config.weight_decay), (added, config.added_decay))
        if params
    ]
    return torch.optim.Adam(groups, lr=config.learning_rate, fused=True)


def train_step(model: nn.Module, optimizer: torch.optim.Optimizer, batch: Batch) -> float:
    """One update; return the loss.

    Raises:
        UsageError: if it is not a number; the weights are then left as they were.
    """
    model.train()
    scored = model(batch)
    loss = binary_cross_entropy_with_logits(scored.logits_B, batch.label_B) + scored.added_loss
    return update(loss, optimizer)


@torch.no_grad()
def predict(model: Ranker, batches: BatchBuilder, at_N: Tensor, group: Group = ALONE) -> np.ndarray:
    """P(click) of the rows `at_N`."""
    model.eval()
    parts = [
        model(group.to_device(batches(at_B, training=False))).logits_B.sigmoid()
        for at_B in group.padded_shard(at_N).split(_EVALUATION_BATCH)
    ]
    return group.gather(torch.cat(parts), len(at_N)).cpu().numpy()


def labels_of(batches: BatchBuilder, at_N: Tensor) -> np.ndarray:
    return batches.rows.label_N[at_N].numpy()


def measure(model: Ranker, batches: BatchBuilder, group: Group = ALONE) -> tuple[dict[str, dict[str, float]], pa.Table]:
    """Metrics of the rows of each split that has any, and a table of their scores (row, split, label, score)."""
    measured: dict[str, dict[str, float]] = {}
    parts: list[pa.Table] = []
    for split in MEASURED:
        at_N = batches.rows.of_split(split)
        if not len(at_N):
            continue
        label_N, score_N = labels_of(batches, at_N), predict(model, batches, at_N, group)
        users_N = batches.rows.requests.user_B[at_N].numpy()
        measured[split] = metrics.binary_metrics(label_N, score_N, users_N)
        row_N = batches.rows.row_N[at_N].numpy()
        columns = {"row": row_N, "split": [split] * len(at_N), "label": label_N.astype(np.int8), "score": score_N}
        parts.append(pa.table(columns))
    return measured, pa.concat_tables(parts)


def parameters(model: nn.Module) -> int:
    return sum(weight.numel() for weight in model.parameters())


def _epoch(batches: BatchBuilder, train_N: Tensor, size: int, epoch: int, group: Group) -> Iterator[Batch]:
    """The training rows in a new random order, in batches, of each this process's share."""
    parts = train_N[group.broadcast(torch.randperm(len(train_N)))].split(size)
    parts = [part for part in parts if len(part) >= group.size]
    for at_B in track(parts, total=len(parts), what=f"epoch {epoch}, batches"):
        yield group.to_device(batches(group.shard(at_B), training=True))
