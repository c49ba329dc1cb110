"""The verb `rank train`: which inputs a run has, whether it must run, and its account. The loop is in ranking.loop."""

import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from core import metrics, steps, storage
from core.contracts import RECIPES, SEED
from core.data.tables import remedy
from core.result import Estimate, Result
from core.settings import Workspace
from ict import shared_run
from ranking.configs import RankerConfig
from ranking.recipes import from_json, resolve
from ranking.registry import BACKBONES
from ranking.runs import run_folder, run_remedy, run_step, told_set, unfinished

SHOWN = "rank train"  # how its progress begins
_WORKER = "ranking.worker"
_FILES = {"model": "model.safetensors", "losses": "losses.json", "scores": "scores.parquet"}
# Measured as a backbone's microseconds are: what a framework adds to them; epochs before a run stops; seconds to
# import, load and evaluate; MiB.
_ADDED_US = {"none": 0.0, "kd": 1.0, "kar": 12.0, "llm-cf": 120.0, "llm-cf+kd": 121.0}
_EPOCHS = 14
_FIXED_S = {False: 14.0, True: 24.0}
_MEMORY_MIB = {False: 900.0, True: 1300.0}


def train(
    ws: Workspace,
    *,
    model: str,
    framework: str,
    recipe: str = RECIPES[0],
    seed: int = SEED,
    epochs: int | None = None,
    variant: str = "",
    precision: str = "auto",
) -> Result:
    """Train a ranker, keep the weights that are best on validation, and measure them on the test rows.

    Raises:
        UsageError: for an unknown name, or if the loss is not a number.
        LlmcfError: if an input is missing, naming the verb that makes it.
    """
    config = resolve(
        ws,
        model=model,
        framework=framework,
        recipe=recipe,
        seed=seed,
        epochs=epochs,
        variant=variant,
        precision=precision,
        cot_set=told_set(ws, recipe),
    )
    return train_as(ws, config)


def train_as(ws: Workspace, config: RankerConfig, *, processes: int = 1, nodes: int = 1) -> Result:
    """The same under a given configuration.

    Args:
        processes: of torchrun, on each of `nodes` machines that share LLMCF_HOME; the others call `join`.
    """
    step = run_step(ws, config)

    def work(folder: Path) -> dict[str, Any]:
        from ict.device import device
        from ict.resume import Checkpoint
        from ranking.distributed import Group
        from ranking.inputs import prepare
        from ranking.loop import fit_and_measure

        scratch = unfinished(ws, config)
        if processes * nodes == 1:
            made = fit_and_measure(ws, config, folder, Checkpoint(scratch, step.key), Group(device=device()))
        else:
            prepare(ws, config)
            job = {"workspace": asdict(ws), "config": asdict(config), "key": step.key, "out": str(folder)}
            made = shared_run.lead(_WORKER, scratch, job, shown=SHOWN, processes=processes, nodes=nodes)
        storage.remove(scratch)
        return made

    outcome = steps.run(step, work)
    result = Result(
        verb="rank train",
        workspace=ws,
        recipe=config.recipe,
        seed=config.seed,
        skipped=outcome.skipped,
        seconds=outcome.seconds,
        artifacts={name: str(outcome.folder / file) for name, file in _FILES.items()},
        metrics=outcome.summary["metrics"],
        details={"model": config.model, "framework": config.framework, **outcome.summary["training"]},
    )
    return _compared(ws, config, result)


def join(ws: Workspace, config: RankerConfig, *, processes: int, nodes: int) -> Result:
    """Take part in a run of several machines that `train` leads on another one, over a shared LLMCF_HOME.

    Raises:
        LlmcfError: if nobody leads such a run within ten minutes, or it fails.
    """
    start = time.monotonic()
    shared_run.join(_WORKER, unfinished(ws, config), shown=SHOWN, processes=processes, nodes=nodes)
    seconds = time.monotonic() - start
    return Result(verb="rank join", workspace=ws, recipe=config.recipe, seed=config.seed, seconds=seconds)


def estimate_train(ws: Workspace, config: RankerConfig) -> Estimate:
    """What `train` would take if it has to run, from the number of rows and rates measured on two CPU cores."""
    path = ws.path("data", "rows.parquet")
    steps.require(path.parent, remedy(ws, "data prepare"))
    rows = pq.ParquetFile(path).metadata.num_rows
    rate, read = BACKBONES[config.model].row_us + _ADDED_US[config.framework], config.uses_examples
    epochs, least = min(config.epochs, _EPOCHS), min(3, config.epochs)
    return Estimate(
        seconds=_FIXED_S[read] + rows * epochs * rate / 1e6,
        memory_mib=_MEMORY_MIB[read] + rows * 2e-3 * (2 if read else 1),
        disk_mib=8.0,
        basis=f"{rows} rows x {epochs} epochs x {rate:.0f} us on a core; it stops between {least} and {config.epochs}",
    )


def _compared(ws: Workspace, config: RankerConfig, result: Result) -> Result:
    """Add the relative improvement over the same run without a framework; null, with a note, if it is not there."""
    if config.framework == "none":
        return result
    plain = replace(config, framework="none", variant="", sequence=False)
    found = _current(ws, plain)
    test, details = dict(result.metrics["test"]), dict(result.details)
    if found is None:
        test["rel_impr"] = None
        details["note"] = f"RelImpr needs the plain run, as it would be now: `{run_remedy(ws, plain)}`"
    else:
        test["rel_impr"] = metrics.rel_impr(test["auc"], found["summary"]["metrics"]["test"]["auc"])
    return replace(result, metrics={**result.metrics, "test": test}, details=details)


def _current(ws: Workspace, config: RankerConfig) -> dict[str, Any] | None:
    """The stamp of a finished run if it was trained under just this configuration and nothing has changed since."""
    stamp = steps.Step(folder=run_folder(ws, config), config=None).stamp()
    if stamp is None:
        return None
    stored = from_json(stamp["config"])
    return run_step(ws, stored).current() if stored.decisive == config.decisive else None
