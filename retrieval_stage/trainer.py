"""The verb `retrieve train`: which inputs a run has, whether it must run, and its account. The loop is in .loop."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from core import steps
from core.data.tables import remedy
from core.errors import LlmcfError
from core.runs import Estimate, Result
from core.settings import Workspace
from retrieval_stage.recipes import RetrievalConfig, resolve

_SOURCES = [
    *(f"retrieval_stage/{name}.py" for name in ("checkpoint", "evaluation", "loop", "losses", "objective")),
    *(f"retrieval_stage/{name}.py" for name in ("sequences", "tables", "user_tower")),
    "retrieval_stage/models",
    "core/metrics.py",
]
_IN_CONTEXT_SOURCES = ["retrieval_stage/in_context.py", "ict/examples.py", "ict/module.py", "ict/neighbours.py"]
_FILES = {"model": "model.safetensors", "losses": "losses.json", "scores": "scores.parquet"}
# Measured on 2 cores: seconds to import, load and evaluate; microseconds a row and epoch; MiB.
_FIXED_S = {"none": 12.0, "llm-cf": 20.0}
_ROW_US = {"none": 12.0, "llm-cf": 50.0}
_ITEM_US = 0.005  # the softmax over the catalogue, for every item
_MEMORY_MIB = {"none": 800.0, "llm-cf": 1200.0}


def train(ws: Workspace, *, model: str, framework: str, recipe: str, seed: int, epochs: int | None = None) -> Result:
    """Train a retrieval model, keep the weights that are best on validation, rank the catalogue for the test rows.

    Raises:
        UsageError: for an unknown name.
        LlmcfError: if an input is missing, naming the verb that makes it, or the loss is not a number.
    """
    config = resolve(model=model, framework=framework, recipe=recipe, seed=seed, epochs=epochs)
    steps.require(ws.path("training"), remedy(ws, "features join"))

    def work(folder: Path) -> dict[str, Any]:
        from retrieval_stage.loop import fit_and_measure

        return fit_and_measure(ws, config, folder)

    outcome = steps.run(train_step(ws, config), work)
    details = dict(outcome.summary)
    return Result(
        verb="retrieve train",
        workspace=ws,
        recipe=recipe,
        seed=seed,
        skipped=outcome.skipped,
        seconds=outcome.seconds,
        artifacts={name: str(outcome.folder / file) for name, file in _FILES.items()},
        metrics=details.pop("metrics"),
        details={"model": model, "framework": framework, **details},
    )


def train_step(ws: Workspace, config: RetrievalConfig) -> steps.Step:
    """The step of one run. Neighbours are not among its inputs: what they are made from is."""
    inputs, code = [ws.path("data"), ws.path("training")], list(_SOURCES)
    if config.framework == "llm-cf":
        for name, verb in (("texts", "cot generate"), ("vectors", "cot embed")):
            steps.require(ws.path("cot", name), remedy(ws, verb))
            inputs.append(ws.path("cot", name))
        code += _IN_CONTEXT_SOURCES
    folder = ws.path("retrieval", f"{config.model}-{config.framework}-{config.recipe}-s{config.seed}")
    return steps.Step(folder=folder, config=config, inputs=inputs, code=code)


def trained(ws: Workspace, named: RetrievalConfig) -> RetrievalConfig:
    """The configuration, its number of epochs included, that the named run was trained with.

    Raises:
        LlmcfError: if there is none, or its inputs or code have changed since.
    """
    names = f"--model {named.model} --framework {named.framework} --recipe {named.recipe} --seed {named.seed}"
    verb = remedy(ws, f"retrieve train {names}")
    stamp = steps.require(train_step(ws, named).folder, verb)
    config = replace(named, epochs=stamp["config"]["epochs"])
    step = train_step(ws, config)
    if step.current() is None:
        raise LlmcfError(f"{step.folder} is older than its inputs or its code; run `{verb}` again")
    return config


def estimate_train(ws: Workspace, *, model: str, framework: str, recipe: str, epochs: int | None = None) -> Estimate:
    """What `train` would take if every epoch had to run, from the number of rows and rates measured on two cores."""
    config = resolve(model=model, framework=framework, recipe=recipe, seed=0, epochs=epochs)
    steps.require(ws.path("data"), remedy(ws, "data prepare"))
    rows = pq.ParquetFile(ws.path("data", "rows.parquet")).metadata.num_rows // 2
    items = pq.ParquetFile(ws.path("data", "items.parquet")).metadata.num_rows
    rate = _ROW_US[framework] + (0 if config.negatives else _ITEM_US * items)
    return Estimate(
        seconds=_FIXED_S[framework] + rows * config.epochs * rate / 1e6,
        memory_mib=_MEMORY_MIB[framework] + rows * 1e-3,
        disk_mib=8.0,
        basis=f"{rows} rows x {config.epochs} epochs x {rate:.0f} us on 2 CPU cores; early stopping may end it sooner",
    )
