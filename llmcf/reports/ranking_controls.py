"""What of a chain of thought helps a ranker: LLM-CF beside itself with controls in place of the texts."""

from collections.abc import Sequence

import numpy as np

from core.uncertainty import equivalence, holm, mean_interval
from llmcf.reports.ranking_cells import BACKBONE_NAMES, CONTROLS, Cells, Key, Table, mean_text, p_text, paired_p, values
from ranking.registry import MODELS
from ranking.segments import SEGMENTS

MARGIN = 0.0025  # of AUC: a quarter of what LLM-CF adds to DeepFM on Beauty


def tables(cells: Cells, recipe: str) -> list[Table]:
    """The controls beside the texts as written and beside no texts at all: over all test rows, and by segment."""
    models = [model for model in MODELS if any((recipe, model, "llm-cf", name) in cells for name in CONTROLS if name)]
    plain = {model: (recipe, model, "none", "") for model in models}
    keys = [key for model in models for key in (plain[model], *_texts(recipe, model)) if key in cells]
    return [_whole(cells, recipe, keys), *_by_segment(cells, recipe, keys)]


def gaps(cells: Cells, key: Key, name: str = "auc") -> list[float]:
    """A metric of a cell less that of LLM-CF with the texts as written, by the seeds that both have."""
    ours, whole = values(cells, key, name), values(cells, (key[0], key[1], "llm-cf", ""), name)
    return [ours[seed] - whole[seed] for seed in sorted(set(ours) & set(whole))]


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
            _gap(gaps(cells, key)) if key in differs else "",
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


def _gap(paired: Sequence[float]) -> str:
    if not paired:
        return ""
    low, high = mean_interval(paired)
    return f"{np.mean(paired):+.4f}" + ("" if np.isnan(low) else f" [{low:+.4f}, {high:+.4f}]")
