"""`llmcf backfill ranking`: backbones x frameworks x recipes x variants x seeds, each finished run a line."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

from core import machine, steps
from core.contracts import FRAMEWORKS, RECIPES, SEED
from core.errors import UsageError, check_choice
from core.remedies import maker
from core.result import Result
from core.settings import Workspace
from llmcf.backfill.cells import Line, Stage, data_of, facts_of, fill
from ranking.configs import RankerConfig
from ranking.recipes import EVERY_VARIANT, from_json, resolve, variants_of
from ranking.registry import MODELS
from ranking.runs import told_set

TASK = "ranking"


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
        choices = {"backbone": MODELS, "framework": FRAMEWORKS, "recipe": RECIPES, "variant": EVERY_VARIANT}
        named = (self.backbones, self.frameworks, self.recipes, self.variants)
        for (kind, known), names in zip(choices.items(), named, strict=True):
            for name in names:
                check_choice(kind, name, known)

    def cells(self, ws: Workspace) -> Iterator[RankerConfig]:
        """The runs, seed by seed, so that an early end leaves whole tables of fewer seeds."""
        for seed, recipe, model, framework, variant in product(
            self.seeds, self.recipes, self.backbones, self.frameworks, self.variants
        ):
            if variant in variants_of(framework):
                names = {"model": model, "framework": framework, "recipe": recipe, "seed": seed, "variant": variant}
                yield resolve(ws, **names, precision=self.precision, cot_set=told_set(ws, recipe))


def backfill(ws: Workspace, matrix: Matrix, *, command: str, again: bool = False, workers: int = 1) -> Result:
    """Run what has not run, and keep a line of each in results/ranking/<data set>.jsonl; see `cells.fill`."""
    return fill(STAGE, ws, list(matrix.cells(ws)), command=command, again=again, workers=workers)


def run(ws: Workspace, config: RankerConfig, *, command: str) -> Line:
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
        "data": data_of(ws),
        **facts_of(ws, _needs(ws, config)),
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


def _needs(ws: Workspace, config: RankerConfig) -> list[tuple[Path, str]]:
    from ranking.inputs import rests_on

    return rests_on(ws, config)


def _told(line: Line) -> str:
    test = line["metrics"]["test"]
    return f"AUC {test['auc']:.4f}, LogLoss {test['logloss']:.4f}"


def _same(stored: dict[str, Any], config: RankerConfig) -> bool:
    try:
        return stored["model"] in MODELS and from_json(stored).decisive == config.decisive
    except UsageError:  # of a name that is no more
        return False


STAGE = Stage(task=TASK, run=run, needs=_needs, same=_same, told=_told)
