"""What of a chain of thought helps a ranker: LLM-CF beside itself with controls in place of the texts."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from core.uncertainty import equivalence, holm
from llmcf.reports.measured import Cells, Key, Table, gap_text, less, mean_text, p_text, paired_p, values
from llmcf.reports.ranking_cells import BACKBONE_NAMES, CONTROLS, GROWTH
from ranking.registry import MODELS
from ranking.segments import SEGMENTS

CONTENT = {  # a figure of `report cot` -> what it says
    "mrr_item": "finds its item",
    "mrr_history": "finds its history",
    "label_probe": "tells the label",
    "score": "quality score",
}
MARGIN = 0.0025  # of AUC: a quarter of what LLM-CF adds to DeepFM on Beauty


def tables(cells: Cells, recipe: str) -> list[Table]:
    """The controls beside the texts as written and beside no texts at all: over all test rows, and by segment."""
    models = [model for model in MODELS if any((recipe, model, "llm-cf", name) in cells for name in CONTROLS if name)]
    plain = {model: (recipe, model, "none", "") for model in models}
    keys = [key for model in models for key in (plain[model], *_texts(recipe, model)) if key in cells]
    return [_whole(cells, recipe, keys), *_by_segment(cells, recipe, keys)]


def growth_table(cells: Cells, recipe: str) -> Table:
    """What LLM-CF adds by the number of texts, where sets of several sizes were run."""
    rows = []
    for model in MODELS:
        base = (recipe, model, "none", "")
        for name, title in GROWTH.items():
            key = (recipe, model, "llm-cf", name)
            if key in cells:
                gain = less(cells, key, base, "auc")
                number = texts_of(cells, key)
                rows.append(
                    [BACKBONE_NAMES[model][0], f"{number:,}" if number else title, str(len(cells[key])),
                     *(mean_text(values(cells, key, metric)) for metric in ("auc", "gauc", "logloss")), gap_text(gain)]
                )  # fmt: skip
    note = (
        f"Recipe `{recipe}`. One draw of rows, so that each set holds the smaller ones; paired by seed, 95 % interval."
    )
    head = ["backbone", "texts M", "seeds", "AUC", "GAUC", "LogLoss", "AUC less that without LLM-CF"]
    return Table(f"Number of texts, {recipe}", note, head, rows)


def growth(cells: Cells, model: str, recipe: str = "strict") -> dict[int, list[float]]:
    """Number of texts -> what LLM-CF adds to the AUC, by the seeds that both have."""
    keys = [(recipe, model, "llm-cf", name) for name in GROWTH]
    found = {texts_of(cells, key): less(cells, key, (recipe, model, "none", ""), "auc") for key in keys if key in cells}
    return {number: gains for number, gains in sorted(found.items()) if number and gains}


def texts_of(cells: Cells, key: Key) -> int:
    """The number of texts that the newest run of a cell read; 0 for a line that does not say."""
    return max((line.get("texts", 0) for line in cells[key].values()), default=0)


def content_table(cells: Cells, model: str, content: Mapping[str, dict[str, Any]], recipe: str) -> list[Table]:
    """What `report cot` measured of each set beside what the set gives, and their rank correlation over the sets."""
    told = content_and_gain(cells, model, content, recipe)
    if len(told) < 3:
        return []
    gains = [gain for _, gain in told.values()]
    rows = [
        [CONTROLS.get(name, name), *(f"{figures[of]:.3f}" for of in CONTENT), f"{gain:+.4f}"]
        for name, (figures, gain) in told.items()
    ]
    ranks = [spearmanr([figures[of] for figures, _ in told.values()], gains) for of in CONTENT]
    rows.append(["Spearman's ρ with the gain (p)", *(f"{rho:+.2f} ({p:.2f})" for rho, p in ranks), ""])
    note = (
        f"{BACKBONE_NAMES[model][0]}, recipe `{recipe}`: figures of `llmcf report cot --set ... --keep` and the mean "
        "gain over no LLM-CF. So few sets show strong relations only."
    )
    title, head = f"Content and gain, {BACKBONE_NAMES[model][0]}, {recipe}", ["texts", *CONTENT.values(), "gain"]
    return [Table(title, note, head, rows, foot=1)]


def content_and_gain(
    cells: Cells, model: str, content: Mapping[str, dict[str, Any]], recipe: str = "strict"
) -> dict[str, tuple[dict[str, float], float]]:
    """Set -> its figures of content, and what LLM-CF adds with it; only sets that have both."""
    sets = {name: "base" if name == "no-recgen" else name for name in CONTROLS}
    found = {}
    for variant, name in sets.items():
        gains = less(cells, (recipe, model, "llm-cf", variant), (recipe, model, "none", ""), "auc")
        if gains and name in content:
            found[variant] = ({of: content[name][of] for of in CONTENT}, float(np.mean(gains)))
    return found


def gaps(cells: Cells, key: Key, name: str = "auc") -> list[float]:
    """A metric of a cell less that of LLM-CF with the texts as written, by the seeds that both have."""
    return less(cells, key, (key[0], key[1], "llm-cf", ""), name)


def _texts(recipe: str, model: str) -> list[Key]:
    return [(recipe, model, "llm-cf", variant) for variant in CONTROLS]


def _title(key: Key) -> str:
    return CONTROLS[key[3]] if key[2] == "llm-cf" else "no LLM-CF"


def _whole(cells: Cells, recipe: str, keys: Sequence[Key]) -> Table:
    others = [key for key in keys if key[2:] != ("llm-cf", "")]
    differs = dict(zip(others, holm([paired_p(cells, key, (*key[:2], "llm-cf", "")) for key in others]), strict=True))
    same = dict(zip(others, holm([_equivalence(cells, key) for key in others]), strict=True))
    rows = [
        [
            BACKBONE_NAMES[key[1]][0],
            _title(key),
            str(len(cells[key])),
            *(mean_text(values(cells, key, name)) for name in ("auc", "gauc", "logloss")),
            gap_text(gaps(cells, key)) if key in differs else "",
            p_text(differs.get(key, float("nan"))),
            p_text(same.get(key, float("nan"))),
        ]
        for key in keys
    ]
    head = ["backbone", "texts", "seeds", "AUC", "GAUC", "LogLoss", "AUC less LLM-CF's", "p differs", "p equivalent"]
    note = (
        f"Recipe `{recipe}`. The same rows, examples and settings with other texts. Differences are paired by seed, "
        "with the 95 % interval of their mean; p of the paired t test, and of two one-sided tests that the difference "
        f"lies within ±{MARGIN} (a quarter of what LLM-CF adds to DeepFM on Beauty); both corrected by Holm."
    )
    return Table(f"Controls of the texts, {recipe}", note, head, rows)


def _by_segment(cells: Cells, recipe: str, keys: Sequence[Key]) -> list[Table]:
    rows = [
        [BACKBONE_NAMES[key[1]][0], _title(key)] + [mean_text(_of_segment(cells, key, name)) for name in SEGMENTS]
        for key in keys
        if any("segments" in line for line in cells[key].values())
    ]
    note = "Test AUC on parts of the test rows; what is known is as of the row's day. Segments overlap."
    return [Table(f"Controls by segment, {recipe}", note, ["backbone", "texts", *SEGMENTS], rows)] if rows else []


def _of_segment(cells: Cells, key: Key, name: str) -> dict[int, float]:
    lines = cells[key].items()
    return {seed: line["segments"][name]["auc"] for seed, line in lines if name in line.get("segments", {})}


def _equivalence(cells: Cells, key: Key) -> float:
    paired = gaps(cells, key)
    return equivalence(paired, MARGIN) if len(paired) > 1 else float("nan")
