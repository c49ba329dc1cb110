"""The one training loop of the retrieval stage, the same for every backbone and framework."""

import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
from torch import Tensor, nn

from core import memory, processor, storage
from core.progress import say, track
from core.settings import Workspace
from ict.averaging import Averages
from ict.group import ALONE, Group
from ict.neighbours import Neighbours
from ict.resume import Checkpoint, Progress, put, untimed
from ict.seeding import seed_everything
from ict.update import update
from retrieval_stage import controls, evaluation, text_map, unseen_items, weights
from retrieval_stage.account import Evaluator
from retrieval_stage.blend import UNSEEN, Blend
from retrieval_stage.configs import RetrievalConfig
from retrieval_stage.inputs import TowerData, load, require_splits
from retrieval_stage.objective import Objective
from retrieval_stage.sequences import Sequences
from retrieval_stage.takings import Takings
from retrieval_stage.user_tower import UserTower, build

_LIKE = 32  # batches whose windows are sorted by length together


def fit_and_measure(
    ws: Workspace, config: RetrievalConfig, folder: Path, checkpoint: Checkpoint, group: Group = ALONE
) -> dict[str, Any]:
    """Train, rank the catalogue for every validation and test row, and leave weights, losses and ranks in `folder`.

    A run that was killed goes on from `checkpoint`. Of a group of processes the first measures and writes.

    Raises:
        LlmcfError: if a split is empty.
        UsageError: if the loss is not a number.
    """
    memory.keep_freed()
    seed_everything(config.seed)
    if config.precision == "bfloat16" and not processor.multiplies_bfloat16():
        say("this processor has no products in bfloat16: --precision float32 is faster")
    data = load(ws, config)
    require_splits(ws, data.sequences)
    tower = build(config, data)
    sequences, shown = data.sequences, data.shown
    log = fit(tower, sequences, shown, checkpoint, group)
    if group.rank:
        return {}
    placed_by = _placed(tower, data) if config.cold_start else None
    if placed_by is not None:
        placed_by.save(folder / text_map.FILE)
    weights.save(folder / weights.FILE, tower)
    storage.write_json(folder / "losses.json", untimed(log))
    evaluator = Evaluator.of(data.rows, sequences, tower.offered_V)
    score, alone, blended_by = _scores(tower, sequences, shown), {}, {}
    if config.blended:
        assert data.texts_VE is not None
        blend = Blend(_evidence(evaluator, data.texts_VE, placed_by))
        blended_by = blend.tuned(score, sequences)
        alone = {"tower": evaluation.metrics_of(score, sequences, sequences.of_split("test"))}
        score = blend.scores(score, blended_by)
    if config.cold_start:
        all_takings = Takings(sequences, len(tower.offered_V), held_out=True)
        lately = controls.popular_lately(sequences, all_takings, tower.offered_V)
        score = controls.to_strangers(lately, score, sequences)
    account = evaluator.account(score)
    with storage.atomic_path(folder / "scores.parquet") as beside:
        pq.write_table(account.ranks, beside, compression="zstd")
    floor = evaluator.ranked(controls.popularity(sequences, evaluator.takings, tower.offered_V), "test")
    return {
        **account.figures(),
        "metrics": account.metrics | alone,
        "blend": blended_by,
        "epochs": len(log),
        "best_epoch": max(log, key=lambda entry: entry["valid"]["hit@10"])["epoch"],
        "parameters": sum(weight.numel() for weight in tower.parameters()),
        "popularity": evaluation.summary(floor.masked_B, floor.unmasked_B),
    }


def fit(
    tower: UserTower,
    sequences: Sequences,
    shown: Neighbours,
    checkpoint: Checkpoint | None = None,
    group: Group = ALONE,
) -> list[dict[str, Any]]:
    """Train until HIT@10 on validation, seen items masked, stops rising; leave the best weights in `tower`.

    Returns one entry an epoch: its number, mean loss, validation metrics and seconds. A run that was killed goes on
    from `checkpoint`. In a group, each process trains on its share of every batch; `tower` is the same in all.

    Raises:
        UsageError: if the loss is not a number.
    """
    config = tower.config
    trained = group.replicate(Objective(tower, sequences, shown, group), torch.get_rng_state())
    optimizer = optimizer_of(tower)
    generator = torch.Generator().manual_seed(config.seed)
    averages = Averages(tower.parameters(), config.averaging)
    live = {"model": tower.state_dict(), "averages": averages.state()}
    progress, best = checkpoint.resume(live, optimizer, generator) if checkpoint else (Progress(), {})
    if progress.epoch:
        say(f"going on after epoch {progress.epoch} of a run that was broken off")
    while not progress.over(config.epochs, config.patience):
        epoch, start = progress.epoch + 1, time.monotonic()
        if config.decay:
            optimizer.param_groups[0]["lr"] = config.learning_rate * (1 - (epoch - 1) / config.epochs)
        batches = in_batches(sequences, sequences.windows(generator), config, generator, least=group.size)
        ends = track(batches, total=len(batches), what=f"epoch {epoch}, steps")
        losses = []
        for step in updates(trained, tower, optimizer, ends, generator):
            losses.append(group.mean(step))
            averages.step()
        loss = sum(losses) / len(losses)
        with averages.in_place():
            valid = validated(tower, sequences, shown, group)
            if valid["hit@10"] > max((entry["valid"]["hit@10"] for entry in progress.epochs), default=-1.0):
                best = {name: values.clone() for name, values in live["model"].items()}
                progress.best_epoch = epoch
        seconds = round(time.monotonic() - start, 3)
        progress.epochs.append({"epoch": epoch, "loss": loss, "valid": valid, "seconds": seconds})
        say(f"epoch {epoch}: loss {loss:.4f}, validation HIT@10 {valid['hit@10']:.4f}, {seconds:.1f} s")
        if checkpoint:
            checkpoint.save(progress, live, best, optimizer, generator)
    put(live["model"], best)
    return progress.epochs


def optimizer_of(tower: UserTower) -> torch.optim.Optimizer:
    """As the tower's configuration says."""
    config = tower.config
    return torch.optim.Adam(
        tower.parameters(),
        lr=config.learning_rate,
        betas=(0.9, config.beta2),
        weight_decay=config.weight_decay,
        fused=True,
    )


def validated(tower: UserTower, sequences: Sequences, shown: Neighbours, group: Group = ALONE) -> dict[str, float]:
    """The metrics of the validation rows with the weights as they are, seen items masked."""
    index_B = sequences.of_split("valid")
    score = _scores(tower, sequences, shown)
    ranks = evaluation.catalogue_ranks(score, sequences, group.padded_shard(index_B))
    return evaluation.summary(*(group.gather(rank_B, len(index_B)) for rank_B in ranks))["masked"]


def updates(
    objective: nn.Module,
    tower: UserTower,
    optimizer: torch.optim.Optimizer,
    ends: Iterable[Tensor],
    generator: torch.Generator,
) -> Iterator[float]:
    """Train on batch after batch of windows, given by where they end; yields the losses.

    Args:
        objective: of `tower`, which may be wrapped.
    """
    for number, index_B in enumerate(ends):
        if number % tower.config.refresh == 0:
            tower.encode_examples()
        yield train_step(objective, optimizer, index_B, generator)


def train_step(
    objective: nn.Module, optimizer: torch.optim.Optimizer, index_B: Tensor, generator: torch.Generator
) -> float:
    """One update from the windows that end at `index_B`; return the loss.

    Raises:
        UsageError: if it is not a number; the weights are then left as they were.
    """
    objective.train()
    return update(objective(index_B, generator), optimizer)


def in_batches(
    sequences: Sequences, index_X: Tensor, config: RetrievalConfig, generator: torch.Generator, *, least: int = 1
) -> list[Tensor]:
    """The windows in a random order, in batches of at least `least`; under `trimmed` of like length."""
    index_X = index_X[torch.randperm(len(index_X), generator=generator)]
    if not config.trimmed:
        return [part_B for part_B in index_X.split(config.batch) if len(part_B) >= least]
    groups = index_X.split(_LIKE * config.batch)
    sorted_X = torch.cat([group_X[sequences.position_N[group_X].argsort(stable=True)] for group_X in groups])
    batches = [part_B for part_B in sorted_X.split(config.batch) if len(part_B) >= least]
    return [batches[place] for place in torch.randperm(len(batches), generator=generator).tolist()]


def _placed(tower: UserTower, data: TowerData) -> text_map.TextMap:
    """The map of a trained tower's items, by which the others are scored from now on."""
    assert data.texts_VE is not None
    made = unseen_items.fit(tower, data.sequences, data.texts_VE)
    unseen_items.place(tower, made, data.texts_VE)
    return made


def _evidence(
    evaluator: Evaluator, texts_VE: Tensor, placed_by: text_map.TextMap | None
) -> dict[str, controls.Evidence]:
    """What speaks for an item without training: the transition graph, texts, and that it is new."""
    new = {} if placed_by is None else {UNSEEN: unseen_items.evidence(placed_by)}
    return {
        "graph": controls.Transitions(evaluator.sequences, len(evaluator.offered_V)),
        "text": controls.text(evaluator.sequences, texts_VE),
        **new,
    }


def _scores(tower: UserTower, sequences: Sequences, shown: Neighbours) -> evaluation.Score:
    """Scores with the weights as they are."""
    tower.eval()
    tower.freeze_examples()
    return evaluation.by_tower(tower, sequences, shown)
