"""`llmcf backfill retrieval`: backbones x frameworks x recipes x variants x seeds, each finished run a line."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

from core import machine, steps
from core.contracts import RECIPES, RETRIEVAL_FRAMEWORKS, SEED
from core.errors import check_choice
from core.remedies import maker
from core.result import Result
from core.settings import Workspace
from llmcf.backfill.cells import Line, Stage, data_of, fill, first_lacking
from retrieval_stage.configs import RetrievalConfig
from retrieval_stage.recipes import VARIANTS, from_json, resolve
from retrieval_stage.registry import MODELS

TASK = "retrieval"


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """What is run: every combination, but variants only of LLM-CF."""

    backbones: Sequence[str] = MODELS
    frameworks: Sequence[str] = RETRIEVAL_FRAMEWORKS
    recipes: Sequence[str] = RECIPES[:1]
    variants: Sequence[str] = ("",)
    seeds: Sequence[int] = (SEED,)

    def __post_init__(self) -> None:
        choices = {
            "retrieval model": (MODELS, self.backbones),
            "framework": (RETRIEVAL_FRAMEWORKS, self.frameworks),
            "recipe": (RECIPES, self.recipes),
            "variant": (VARIANTS, self.variants),
        }
        for kind, (known, names) in choices.items():
            for name in names:
                check_choice(kind, name, known)

    def cells(self) -> Iterator[RetrievalConfig]:
        """The runs, seed by seed, so that an early end leaves whole tables of fewer seeds."""
        for seed, recipe, model, framework, variant in product(
            self.seeds, self.recipes, self.backbones, self.frameworks, self.variants
        ):
            if not variant or framework == "llm-cf":
                yield resolve(model=model, framework=framework, recipe=recipe, seed=seed, variant=variant)


def backfill(ws: Workspace, matrix: Matrix, *, command: str, again: bool = False, workers: int = 1) -> Result:
    """Run what has not run, and keep a line of each in results/retrieval/<data set>.jsonl; see `cells.fill`."""
    return fill(STAGE, ws, list(matrix.cells()), command=command, again=again, workers=workers)


def run(ws: Workspace, config: RetrievalConfig, *, command: str) -> Line:
    """Train one cell, or take it from its finished folder, and return its line.

    Metrics of a split are with the user's seen items taken out; those of `<split>_unmasked` among all items.
    """
    from retrieval_stage import runs, trainer

    made = trainer.train_as(ws, config)
    folder = runs.run_folder(ws, config)
    stamp = steps.require(folder, maker(folder))
    account = made.details
    return {
        "order": ws.order,
        "as_of": ws.as_of,
        "config": asdict(config),
        "data": data_of(ws),
        "code": stamp["key"][:12],
        "metrics": {
            split if seen == "masked" else f"{split}_{seen}": figures
            for split, of_seen in made.metrics.items()
            for seen, figures in of_seen.items()
        },
        "epochs": account["epochs"],
        "best_epoch": account["best_epoch"],
        "parameters": account["parameters"],
        "seconds": made.seconds,
        "machine": machine.sentence(),
        "command": command,
    }


def _lacking(ws: Workspace, config: RetrievalConfig) -> str:
    from retrieval_stage.runs import needs

    return first_lacking(ws, needs(ws, config))


def _told(line: Line) -> str:
    test = line["metrics"]["test"]
    return f"HIT@10 {test['hit@10']:.4f}, NDCG@10 {test['ndcg@10']:.4f}"


def _same(stored: dict[str, Any], config: RetrievalConfig) -> bool:
    return from_json(stored).decisive == config.decisive


STAGE = Stage(task=TASK, run=run, lacking=_lacking, same=_same, told=_told)
