"""`llmcf backfill ranking`: backbones x frameworks x recipes x variants x seeds, each finished run a line of results.

A cell that lacks an input is left out, and its remedy is told; the others run.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from core import machine, measurements, steps
from core.contracts import FRAMEWORKS, RECIPES, SEED
from core.data.tables import remedy
from core.errors import UsageError, check_choice
from core.progress import say
from core.remedies import maker
from core.result import Result
from core.settings import Workspace
from llmcf.backfill.workers import each
from ranking.configs import RankerConfig
from ranking.recipes import VARIANTS, from_json, resolve
from ranking.registry import MODELS
from ranking.runs import told_set

TASK = "ranking"
_SAME = ("order", "as_of", "config", "code", "data", "metrics", "segments")  # what makes a line a repetition


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """What is run: every combination, but variants only of a framework that has them."""

    backbones: Sequence[str] = MODELS
    frameworks: Sequence[str] = FRAMEWORKS
    recipes: Sequence[str] = RECIPES[:1]
    variants: Sequence[str] = ("",)
    seeds: Sequence[int] = (SEED,)
    precision: str = "auto"

    def __post_init__(self) -> None:
        choices = {"backbone": MODELS, "framework": FRAMEWORKS, "recipe": RECIPES, "variant": VARIANTS}
        named = (self.backbones, self.frameworks, self.recipes, self.variants)
        for (kind, known), names in zip(choices.items(), named, strict=True):
            for name in names:
                check_choice(kind, name, known)

    def cells(self, ws: Workspace) -> Iterator[RankerConfig]:
        """The runs, seed by seed, so that an early end leaves whole tables of fewer seeds."""
        for seed, recipe, model, framework, variant in product(
            self.seeds, self.recipes, self.backbones, self.frameworks, self.variants
        ):
            if not variant or "llm-cf" in framework:
                names = {"model": model, "framework": framework, "recipe": recipe, "seed": seed, "variant": variant}
                yield resolve(ws, **names, precision=self.precision, cot_set=told_set(ws, recipe))


def backfill(ws: Workspace, matrix: Matrix, *, command: str, again: bool = False, workers: int = 1) -> Result:
    """Run what has not run, and keep a line of each in results/ranking/<data set>.jsonl.

    A cell whose configuration and data have a line there is taken from it, whichever machine wrote it.

    Args:
        again: run them all the same, as after a change of the code.
        workers: cells that are trained at a time; they share the cores.

    Raises:
        UsageError: if there is to be no worker.
        LlmcfError: if the rows themselves are missing, or a run fails.
    """
    if workers < 1:
        raise UsageError(f"--workers {workers} is not at least 1")
    start = time.monotonic()
    for folder, verb in ((ws.path("data"), "data prepare"), (ws.path("training"), "features join")):
        steps.require(folder, remedy(ws, verb))
    file = measurements.file(TASK, ws.dataset)
    cells = list(matrix.cells(ws))
    done: dict[str, str] = {}
    left_out: dict[str, str] = {}
    waiting: list[RankerConfig] = []

    def keep(config: RankerConfig, line: dict[str, Any]) -> None:
        test = line["metrics"]["test"]
        done[config.name] = f"AUC {test['auc']:.4f}, LogLoss {test['logloss']:.4f}"
        say(f"[{len(done)}/{len(cells)}] {config.name}: {done[config.name]}, {line['seconds']:.0f} s")

    for config in cells:
        if lacking := _lacking(ws, config):
            left_out[config.name] = lacking
            say(f"{config.name}: left out, {lacking}")
        elif not again and (line := _kept(ws, file, config)):
            keep(config, line)
        else:
            waiting.append(config)
    for config, line in each(partial(run, ws, command=command), waiting, workers):
        measurements.append(file, line, same=_SAME)
        keep(config, line)
    return Result(
        verb="backfill ranking",
        workspace=ws,
        seconds=time.monotonic() - start,
        artifacts={"results": str(file)},
        details={**done, **{name: f"left out: {why}" for name, why in left_out.items()}},
    )


def run(ws: Workspace, config: RankerConfig, *, command: str) -> dict[str, Any]:
    """Train one cell, or take it from its finished folder, and return its line."""
    from ranking import runs, segments, trainer

    made = trainer.train_as(ws, config)
    folder = runs.run_folder(ws, config)
    stamp = steps.require(folder, maker(folder))
    account = made.details
    epochs = account["epochs"]
    return {
        "order": ws.order,
        "as_of": ws.as_of,
        "config": asdict(config),
        "data": _data(ws),
        "code": stamp["key"][:12],
        "metrics": made.metrics,
        "segments": segments.measure(ws, folder / "scores.parquet"),
        "coverage": account["coverage"],
        "texts": account["texts"],
        "best_epoch": account["best_epoch"],
        "parameters": account["parameters"],
        "seconds": made.seconds,
        "seconds_an_epoch": round(sum(line["seconds"] for line in epochs) / len(epochs), 2),
        "machine": machine.sentence(),
        "command": command,
    }


def _kept(ws: Workspace, file: Path, config: RankerConfig) -> dict[str, Any] | None:
    """The last line of the same run on the same data."""
    wanted = {"order": ws.order, "as_of": ws.as_of, "data": _data(ws)}
    alike = (line for line in measurements.read(file) if all(line.get(name) == value for name, value in wanted.items()))
    return next((line for line in reversed(list(alike)) if from_json(line["config"]).decisive == config.decisive), None)


def _data(ws: Workspace) -> str:
    return steps.require(ws.path("training"), remedy(ws, "features join"))["content"][:12]


def _lacking(ws: Workspace, config: RankerConfig) -> str:
    """The first input that is missing, with the verb that makes it; empty if none is."""
    from ranking.inputs import needs

    for folder, verb in needs(ws, config):
        if steps.Step(folder=folder, config=None).stamp() is None:
            return f"run `{remedy(ws, verb)}` first"
    return ""
