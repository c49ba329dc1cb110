"""The one training loop of the ranking stage. Suffixes: B rows of a batch, N rows."""

import copy
import math
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from core import memory, metrics, storage
from core.contracts import ON_SALE
from core.errors import UsageError
from core.progress import say, track
from core.settings import Workspace
from ranking import weights
from ranking.batch import Batch, BatchBuilder
from ranking.checkpoint import Checkpoint, Progress
from ranking.inputs import coverage, load
from ranking.ranker import Ranker
from ranking.recipes import RankerConfig
from ranking.registry import build

MEASURED = ("valid", "test", ON_SALE)
_EVALUATION_BATCH = 4096


def fit_and_measure(ws: Workspace, config: RankerConfig, folder: Path, checkpoint: Checkpoint) -> dict[str, Any]:
    """Fill a run's folder: weights, losses, scores of the validation and test rows. Return metrics and an account.

    A run that was killed goes on from `checkpoint`, which is gone when the folder is full.
    """
    memory.keep_freed()
    seed_everything(config.seed)
    batches, shape = load(ws, config)
    model = build(config, shape)
    account = fit(model, batches, config, checkpoint)
    losses = account.pop("losses")
    weights.save(folder / weights.FILE, model.state_dict(), weights.manifest(ws, config, shape))
    storage.write_json(folder / "losses.json", {"steps": losses, "epochs": account["epochs"]})
    measured, scores = measure(model, batches)
    pq.write_table(scores, folder / "scores.parquet", compression="zstd")
    checkpoint.remove()
    return {"metrics": measured, "training": account | {"coverage": coverage(batches)}}


def fit(
    model: Ranker, batches: BatchBuilder, config: RankerConfig, checkpoint: Checkpoint | None = None
) -> dict[str, Any]:
    """Train until validation stops improving; leave the best weights in `model` and return the account.

    Raises:
        UsageError: if the loss is not a number.
    """
    valid_N = batches.rows.of_split("valid")
    rows = batches.rows
    if model.dense is not None:
        model.dense.fit(batches.dense(rows.of_epoch(1)))
    optimizer = optimizer_of(model, config)
    averaged = _averaged(model, config.averaging)
    judged = model if averaged is None else cast("Ranker", averaged.module)
    modules: dict[str, nn.Module] = {"model": model}
    if averaged is not None:
        modules["averaged"] = averaged
    progress, best = checkpoint.resume(modules, optimizer) if checkpoint else (Progress(), {})
    if progress.epoch:
        say(f"going on after epoch {progress.epoch} of a run that was broken off")
    while not progress.over(config.epochs, config.patience):
        epoch, start, done = progress.epoch + 1, time.monotonic(), len(progress.losses)
        for batch in _epoch(batches, rows.of_epoch(epoch if config.redraw else 1), config.batch, epoch):
            progress.losses.append(train_step(model, optimizer, batch))
            if averaged is not None:
                averaged.update_parameters(model)
        seconds = time.monotonic() - start
        loss = float(np.mean(progress.losses[done:]))
        auc = metrics.auc(labels_of(batches, valid_N), predict(judged, batches, valid_N))
        progress.epochs.append({"loss": loss, "valid_auc": auc, "seconds": round(seconds, 2)})
        say(f"epoch {epoch}: loss {loss:.4f}, valid AUC {auc:.4f}, {seconds:.0f} s")
        if auc >= max(line["valid_auc"] for line in progress.epochs):
            best, progress.best_epoch = copy.deepcopy(judged.state_dict()), epoch
        if checkpoint:
            checkpoint.save(progress, modules, best, optimizer)
    model.load_state_dict(best)
    return {**asdict(progress), "parameters": parameters(model)}


def optimizer_of(model: Ranker, config: RankerConfig) -> torch.optim.Optimizer:
    """Adam, with a weight decay for the embeddings and the backbone, and one for what a framework adds."""
    added = [weight for part in (model.llm_cf, model.kar) if part is not None for weight in part.parameters()]
    known = set(map(id, added))
    own = [weight for weight in model.parameters() if id(weight) not in known]
    groups = [
        {"params": weights, "weight_decay": decay}
        for weights, decay in ((own, config.weight_decay), (added, config.added_decay))
        if weights
    ]
    return torch.optim.Adam(groups, lr=config.learning_rate, fused=True)


def _averaged(model: Ranker, share: float) -> AveragedModel | None:
    """Moving averages of the weights, of which every step keeps `share`; they begin with the first step's."""
    if not share:
        return None
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(share), use_buffers=True)


def train_step(model: nn.Module, optimizer: torch.optim.Optimizer, batch: Batch) -> float:
    """One update; return the loss.

    Raises:
        UsageError: if it is not a number; the weights are then left as they were.
    """
    model.train()
    scored = model(batch)
    loss = binary_cross_entropy_with_logits(scored.logits_B, batch.label_B) + scored.added_loss
    value = loss.item()
    if not math.isfinite(value):
        raise UsageError(f"the training loss is {value}; check the inputs, or lower the learning rate")
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return value


@torch.no_grad()
def predict(model: Ranker, batches: BatchBuilder, at_N: Tensor) -> np.ndarray:
    """P(click) of the rows `at_N`."""
    model.eval()
    parts = [model(batches(at_B, training=False)).logits_B.sigmoid() for at_B in at_N.split(_EVALUATION_BATCH)]
    return torch.cat(parts).numpy()


def labels_of(batches: BatchBuilder, at_N: Tensor) -> np.ndarray:
    return batches.rows.label_N[at_N].numpy()


def measure(model: Ranker, batches: BatchBuilder) -> tuple[dict[str, dict[str, float]], pa.Table]:
    """Metrics of the rows of each split that has any, and a table of their scores (row, split, label, score)."""
    measured: dict[str, dict[str, float]] = {}
    parts: list[pa.Table] = []
    for split in MEASURED:
        at_N = batches.rows.of_split(split)
        if not len(at_N):
            continue
        label_N, score_N = labels_of(batches, at_N), predict(model, batches, at_N)
        users_N = batches.rows.requests.user_B[at_N].numpy()
        measured[split] = metrics.binary_metrics(label_N, score_N, users_N)
        row_N = batches.rows.row_N[at_N].numpy()
        columns = {"row": row_N, "split": [split] * len(at_N), "label": label_N.astype(np.int8), "score": score_N}
        parts.append(pa.table(columns))
    return measured, pa.concat_tables(parts)


def seed_everything(seed: int) -> None:
    """Make a run repeatable on one machine, and keep decayed weights out of the slow denormal range."""
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # pyright: ignore[reportAttributeAccessIssue] - it only helps to find bugs, and costs a sixth
    torch.set_flush_denormal(True)


def parameters(model: nn.Module) -> int:
    return sum(weight.numel() for weight in model.parameters())


def _epoch(batches: BatchBuilder, train_N: Tensor, size: int, epoch: int) -> Iterator[Batch]:
    """The training rows in a new random order, in batches."""
    parts = train_N[torch.randperm(len(train_N))].split(size)
    for at_B in track(parts, total=len(parts), what=f"epoch {epoch}, batches"):
        yield batches(at_B, training=True)
