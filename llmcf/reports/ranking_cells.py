"""The measured runs of the ranking stage by cell, the paper's figures and names for them, and how a table says them."""

import csv
from dataclasses import replace
from typing import Any

from core.errors import UsageError
from core.settings import PROJECT, Workspace
from ranking.configs import RankerConfig
from ranking.recipes import from_json, resolve
from ranking.registry import BACKBONES, MODELS

PAPER = PROJECT / "results" / "paper.csv"
BACKBONE_NAMES = {name: backbone.names for name, backbone in BACKBONES.items()}  # in the paper's Table 3, in Table 5
FRAMEWORK_NAMES = {"none": "None", "kd": "KD", "kar": "KAR", "llm-cf": "LLM-CF"}
ABLATIONS = {
    "no-text": "w/o text",
    "no-cot": "w/o CoT",
    "no-recgen": "w/o RecGen-LLaMA",
    "no-decoder": "w/o TF decoder",
    "similarities": "similarities alone",
    "": "LLM-CF",
}
CONTROLS = {  # variant -> what its texts are
    "": "the texts as written",
    "no-recgen": "of the untuned model",
    "paper": "written knowing the label",
    "facts": "facts alone",
    "words": "the model's words alone",
    "titles": "the target's title alone",
    "shuffled": "true texts at wrong rows",
    "dealt": "the words of all texts, dealt at random",
}
GROWTH = {"m1000": "1,000", "m5000": "5,000", "m15000": "15,000", "tenth": "a tenth of the rows"}  # variant -> texts
SWEEP = {"k0": "0", "k2": "2", "": "4", "k6": "6", "k8": "8", "k4-unconstrained": "4, unconstrained"}


def of_today(ws: Workspace, stored: dict[str, Any]) -> bool:
    """Whether a line's configuration is what its names stand for now; recipes change, and unlike runs have no mean.

    Precision is a choice, and which set of texts recipe `paper` finds depends on the machine.
    """
    if stored["model"] not in MODELS:
        return False
    try:
        return _is_todays(ws, from_json(stored))
    except UsageError:  # of a name that is no more
        return False


def _is_todays(ws: Workspace, config: RankerConfig) -> bool:
    chosen = (config.in_context.precision, getattr(config.backbone, "precision", ""))
    names = {"model": config.model, "framework": config.framework, "recipe": config.recipe, "seed": config.seed}
    precision = "bfloat16" if "bfloat16" in chosen else "float32"
    today = resolve(ws, **names, variant=config.variant, precision=precision)
    in_context = replace(today.in_context, cot_set=config.in_context.cot_set)
    return replace(today, in_context=in_context).decisive == config.decisive


def paper_figures(dataset: str) -> dict[tuple[str, str, str], float]:
    """(backbone, framework, metric) -> the paper's figure, of Tables 3 and 5; empty for data it has not."""
    with PAPER.open(encoding="utf-8") as stream:
        of = dataset.removeprefix("amazon-")
        found = {}
        for line in csv.DictReader(stream):
            if line["dataset"] == of and line["table"] in ("table3", "table5"):
                model = next((ours for ours, theirs in BACKBONE_NAMES.items() if line["backbone"] in theirs), "")
                found[model, line["framework"], line["metric"]] = float(line["value"])
        return found
