"""Names of what the retrieval stage measures, which of it is of today, and the paper's figures for it."""

import csv
from typing import Any

from core.errors import UsageError
from core.settings import PROJECT
from llmcf.backfill.retrieval import CONTROL
from llmcf.reports.measured import Cells, Key
from retrieval_stage.recipes import from_json, resolve
from retrieval_stage.registry import BACKBONES, MODELS

PAPER = PROJECT / "results" / "paper.csv"
NAMES = {name: backbone.display for name, backbone in BACKBONES.items()}
CONTROLS = {  # name -> title
    "popularity": "popularity",
    "lately": "popularity of 30 days, held-out rows counted",
    "transitions": "transition graph",
    "text": "text cosine",
    "graph+text": "transition graph and text",
}
VARIANT_NAMES = {
    "": "LLM-CF",
    "user": "reads the user, too",
    "code": "fused as in the authors' code",
    "no-cot": "w/o CoT",
}


def control(name: str) -> Key:
    """The cell of what needs no training."""
    return (CONTROL, name, "none", "")


def titles(key: Key) -> list[str]:
    """Backbone and framework, as tables say them."""
    return [CONTROLS[key[1]], "not trained"] if key[0] == CONTROL else [NAMES[key[1]], key[2]]


def of_segment(cells: Cells, key: Key, name: str) -> dict[int, float]:
    """NDCG@10 of a cell on a segment, by seed."""
    lines = cells.get(key, {}).items()
    return {seed: line["segments"][name]["masked"]["ndcg@10"] for seed, line in lines if name in line["segments"]}


def of_today(stored: dict[str, Any]) -> bool:
    """Whether a line's configuration is what its names stand for now; recipes change, and unlike runs have no mean."""
    if stored["recipe"] == CONTROL:
        return stored["model"] in CONTROLS
    if stored["model"] not in MODELS:
        return False
    try:
        config = from_json(stored)
        today = resolve(
            model=config.model,
            framework=config.framework,
            recipe=config.recipe,
            seed=config.seed,
            variant=config.variant,
            precision=config.precision,
        )
    except UsageError:  # of a name that is no more
        return False
    return today.decisive == config.decisive


def paper_figures(dataset: str) -> dict[tuple[str, str, str], float]:
    """(backbone, framework, metric) -> the paper's figure, of Table 4; empty for data it has not."""
    ours = {display.lower(): name for name, display in NAMES.items()}
    with PAPER.open(encoding="utf-8") as stream:
        return {
            (ours.get(line["backbone"].lower(), ""), line["framework"], line["metric"]): float(line["value"])
            for line in csv.DictReader(stream)
            if line["dataset"] == dataset.removeprefix("amazon-") and line["table"] == "table4"
        }
