"""`llmcf backfill retrieval`: backbones x frameworks x recipes x variants x seeds, each finished run a line."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from core import machine, measurements, steps
from core.contracts import RECIPES, RETRIEVAL_FRAMEWORKS, SEED
from core.errors import UsageError, check_choice
from core.remedies import maker
from core.result import Result
from core.segments import COLD
from core.settings import Workspace
from llmcf.backfill.cells import Line, Stage, agrees, data_of, facts_of, fill
from retrieval_stage.configs import RetrievalConfig
from retrieval_stage.recipes import VARIANTS, from_json, resolve
from retrieval_stage.registry import MODELS

TASK = "retrieval"
CONTROL = "control"  # the recipe of what needs no training


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
    """Run what has not run, and keep a line of each in results/retrieval/<data set>.jsonl; see `cells.fill`.

    What needs no training is measured beside them.
    """
    result = fill(STAGE, ws, list(matrix.cells()), command=command, again=again, workers=workers)
    lacking = measure_controls(ws, command=command, again=again)
    return replace(result, details={**result.details, **{name: f"left out: {why}" for name, why in lacking.items()}})


def measure_controls(ws: Workspace, *, command: str, again: bool = False) -> dict[str, str]:
    """Keep a line of each control that has none for this data; return why others are left out."""
    from retrieval_stage import measured_controls

    file, here = measurements.file(TASK, ws.dataset), {"order": ws.order, "as_of": ws.as_of, "data": data_of(ws)}
    facts = facts_of(ws, _needs_of_texts(ws))
    measured = {
        line["config"]["model"]
        for line in measurements.read(file)
        if line["config"]["recipe"] == CONTROL
        and all(line[name] == value for name, value in here.items())
        and agrees(line, facts)
        and set(COLD) <= set(line["segments"])
    }
    if not again and measured >= set(measured_controls.NAMES):
        return {}
    lines, lacking = measured_controls.measure(ws)
    for line in lines:
        name, settings = line.pop("name"), line.pop("settings")
        config = {"model": name, "framework": "none", "recipe": CONTROL, "variant": "", "seed": 0, **settings}
        made = {**here, **facts, "config": config, **line, "metrics": flat(line["metrics"])}
        made |= {"machine": machine.sentence(), "command": command}
        measurements.append(file, made, same=(*here, *facts, "config", "metrics", "segments"))
    return lacking


def _needs_of_texts(ws: Workspace) -> list[tuple[Path, str]]:
    """The folder of item vectors, if there is one: what controls of texts read."""
    vectors = ws.cot("vectors")
    return [(vectors, "cot embed --items-only")] if (vectors / steps.STAMP).is_file() else []


def flat(metrics: Mapping[str, Mapping[str, Mapping[str, float]]]) -> dict[str, Mapping[str, float]]:
    """Metrics by split, those with the user's seen items taken out; those of `<split>_unmasked` are among all items."""
    return {
        split if seen == "masked" else f"{split}_{seen}": figures
        for split, of_seen in metrics.items()
        for seen, figures in of_seen.items()
    }


def run(ws: Workspace, config: RetrievalConfig, *, command: str) -> Line:
    """Train one cell, or take it from its finished folder, and return its line."""
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
        **facts_of(ws, _needs(ws, config)),
        "code": stamp["key"][:12],
        "metrics": flat(made.metrics),
        **{name: account[name] for name in ("intervals", "segments", "coverage", "mean_popularity", "blend")},
        "epochs": account["epochs"],
        "best_epoch": account["best_epoch"],
        "parameters": account["parameters"],
        "seconds": made.seconds,
        "machine": machine.sentence(),
        "command": command,
    }


def _needs(ws: Workspace, config: RetrievalConfig) -> list[tuple[Path, str]]:
    from retrieval_stage.runs import needs

    return needs(ws, config)


def _told(line: Line) -> str:
    test = line["metrics"]["test"]
    return f"HIT@10 {test['hit@10']:.4f}, NDCG@10 {test['ndcg@10']:.4f}"


def _same(stored: dict[str, Any], config: RetrievalConfig) -> bool:
    try:
        return stored["model"] in MODELS and from_json(stored).decisive == config.decisive
    except UsageError:  # of a name that is no more
        return False


STAGE = Stage(task=TASK, run=run, needs=_needs, same=_same, told=_told)
