"""The verb `retrieve train`: which inputs a run has, whether it must run, and its account. The loop is in .loop."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from core import steps, storage
from core.contracts import RECIPES, SEED
from core.data.tables import remedy
from core.result import Estimate, Result
from core.settings import Workspace
from retrieval_stage.configs import RetrievalConfig
from retrieval_stage.recipes import resolve
from retrieval_stage.registry import BACKBONES
from retrieval_stage.runs import run_step, unfinished

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


def train_as(ws: Workspace, config: RetrievalConfig) -> Result:
    """The same under a given configuration; a run that was killed goes on after its last whole epoch."""
    steps.require(ws.path("training"), remedy(ws, "features join"))
    step = run_step(ws, config)

    def work(folder: Path) -> dict[str, Any]:
        from ict.resume import Checkpoint
        from retrieval_stage.loop import fit_and_measure

        scratch = unfinished(ws, config)
        scratch.mkdir(parents=True, exist_ok=True)
        made = fit_and_measure(ws, config, folder, Checkpoint(scratch, step.key))
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
