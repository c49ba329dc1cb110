"""The verb `retrieve train`: which inputs a run has, whether it must run, and its account. The loop is in .loop."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from core import steps, storage
from core.contracts import RECIPES, SEED
from core.data.tables import remedy
from core.result import Estimate, Result
from core.settings import Workspace
from ict import shared_run
from retrieval_stage.configs import RetrievalConfig
from retrieval_stage.recipes import resolve
from retrieval_stage.registry import BACKBONES
from retrieval_stage.runs import run_step, unfinished

SHOWN = "retrieve train"  # how its progress begins
_WORKER = "retrieval_stage.worker"
_FILES = {"model": "model.safetensors", "losses": "losses.json", "scores": "scores.parquet"}
# Measured on 2 cores: seconds to import, load and evaluate; microseconds a row and epoch beside the backbone's; MiB.
_FIXED_S = {"none": 16.0, "llm-cf": 24.0}
_ADDED_US = {"none": 0.0, "llm-cf": 38.0}
_ITEM_US = 0.005  # the softmax over the catalogue, for every item
_MEMORY_MIB = {"none": 800.0, "llm-cf": 1200.0}


def train(
    ws: Workspace,
    *,
    model: str,
    framework: str,
    recipe: str = RECIPES[0],
    seed: int = SEED,
    epochs: int | None = None,
    variant: str = "",
) -> Result:
    """Train a retrieval model, keep the weights that are best on validation, rank the catalogue for the test rows.

    Raises:
        UsageError: for an unknown name, or if the loss is not a number.
        LlmcfError: if an input is missing, naming the verb that makes it.
    """
    names = {"model": model, "framework": framework, "recipe": recipe, "variant": variant}
    return train_as(ws, resolve(**names, seed=seed, epochs=epochs))


def train_as(ws: Workspace, config: RetrievalConfig, *, processes: int = 1, nodes: int = 1) -> Result:
    """The same under a given configuration; a run that was killed goes on after its last whole epoch.

    Args:
        processes: of torchrun, on each of `nodes` machines that share LLMCF_HOME; the others call `join`.
    """
    steps.require(ws.path("training"), remedy(ws, "features join"))
    step = run_step(ws, config)

    def work(folder: Path) -> dict[str, Any]:
        from ict.resume import Checkpoint
        from retrieval_stage.inputs import load
        from retrieval_stage.loop import fit_and_measure

        scratch = unfinished(ws, config)
        scratch.mkdir(parents=True, exist_ok=True)
        if processes * nodes == 1:
            made = fit_and_measure(ws, config, folder, Checkpoint(scratch, step.key))
        else:
            load(ws, config)  # finds what the processes only read
            job = {"workspace": asdict(ws), "config": asdict(config), "key": step.key, "out": str(folder)}
            made = shared_run.lead(_WORKER, scratch, job, shown=SHOWN, processes=processes, nodes=nodes)
        storage.remove(scratch)
        return made

    outcome = steps.run(step, work)
    details = dict(outcome.summary)
    return Result(
        verb="retrieve train",
        workspace=ws,
        recipe=config.recipe,
        seed=config.seed,
        skipped=outcome.skipped,
        seconds=outcome.seconds,
        artifacts={name: str(outcome.folder / file) for name, file in _FILES.items()},
        metrics=details.pop("metrics"),
        details={"model": config.model, "framework": config.framework, **details},
    )


def join(ws: Workspace, config: RetrievalConfig, *, processes: int, nodes: int) -> Result:
    """Take part in a run of several machines that `train_as` leads on another one, over a shared LLMCF_HOME.

    Raises:
        LlmcfError: if nobody leads such a run within ten minutes, or it fails.
    """
    start = time.monotonic()
    shared_run.join(_WORKER, unfinished(ws, config), shown=SHOWN, processes=processes, nodes=nodes)
    seconds = time.monotonic() - start
    return Result(verb="retrieve join", workspace=ws, recipe=config.recipe, seed=config.seed, seconds=seconds)


def estimate_train(ws: Workspace, *, model: str, framework: str, recipe: str, epochs: int | None = None) -> Estimate:
    """What `train` would take if every epoch had to run, from the number of rows and rates measured on two cores."""
    config = resolve(model=model, framework=framework, recipe=recipe, seed=0, epochs=epochs)
    steps.require(ws.path("data"), remedy(ws, "data prepare"))
    rows = pq.ParquetFile(ws.path("data", "rows.parquet")).metadata.num_rows // 2
    items = pq.ParquetFile(ws.path("data", "items.parquet")).metadata.num_rows
    rate = BACKBONES[model].row_us + _ADDED_US[framework] + (0 if config.negatives else _ITEM_US * items)
    return Estimate(
        seconds=_FIXED_S[framework] + rows * config.epochs * rate / 1e6,
        memory_mib=_MEMORY_MIB[framework] + rows * 1e-3,
        disk_mib=8.0,
        basis=f"{rows} rows x {config.epochs} epochs x {rate:.0f} us on 2 CPU cores; early stopping may end it sooner",
    )
