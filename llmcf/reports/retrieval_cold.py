"""Cold start in the retrieval report: whether a model finds what no training row has better than untrained scores do.

Lines hold no ranks, so a model is held against a control by their two intervals alone. These are of the same rows; that
they lie apart is a verdict whatever the two have in common, and a stricter one than a paired test would give.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from core.segments import COLD
from llmcf.backfill.retrieval import CONTROL
from llmcf.reports.measured import Cells, Key, Line, Table, mean_text
from llmcf.reports.retrieval_cells import control, titles

BAR = ("popularity", "lately", "text")  # the controls that a model must be above
ABOVE, BELOW, UNDECIDED = "above all", "below", "undecided"
_NAMED = "popularity and text cosine"
_LACKING = f"Not held against {_NAMED}: `llmcf backfill retrieval` measures them on these rows, and has not."


@dataclass(frozen=True, slots=True)
class Hits:
    """HIT@10 of a cell on a segment: by seed, and the 95 % interval, its bounds' means over seeds."""

    of_seed: dict[int, float]
    rows: int
    low: float
    high: float

    @property
    def mean(self) -> float:
        return float(np.mean(list(self.of_seed.values())))

    @classmethod
    def of(cls, cell: Mapping[int, Line], segment: str) -> "Hits | None":
        """None if the segment has no rows, or was not looked at."""
        parts = {seed: line["segments"].get(segment, {}) for seed, line in cell.items()}
        parts = {seed: part for seed, part in parts.items() if part.get("rows")}
        if not parts:
            return None
        low, high = np.mean([_interval(part) for part in parts.values()], axis=0)
        hits = {seed: part["masked"]["hit@10"] for seed, part in parts.items()}
        return cls(hits, max(part["rows"] for part in parts.values()), float(low), float(high))


def _interval(part: Line) -> tuple[float, float]:
    """The wider of the bootstrap's interval and the exact binomial one: of no hits the former knows nothing."""
    rows, hits = part["rows"], round(part["rows"] * part["masked"]["hit@10"])
    low = float(stats.beta.ppf(0.025, hits, rows - hits + 1)) if hits else 0.0
    high = float(stats.beta.ppf(0.975, hits + 1, rows - hits)) if hits < rows else 1.0
    bootstrap = part["intervals"]["hit@10"]
    return min(low, bootstrap[0]), max(high, bootstrap[1])


def verdict(ours: Hits, bar: Sequence[Hits]) -> str:
    """Above all where our interval lies above theirs, below where it lies below the best one's."""
    if ours.low > max(one.high for one in bar):
        return ABOVE
    return BELOW if ours.high < max(bar, key=lambda one: one.mean).low else UNDECIDED


def tables(cells: Cells, recipe: str, keys: Sequence[Key]) -> list[Table]:
    """A table for items and one for users, where a model was measured on such rows."""
    found = {name: {key: hits for key in keys if (hits := Hits.of(cells[key], name))} for name in COLD}
    models = [key for key in keys if key[0] != CONTROL]
    looked_at = [
        name for name in COLD if any(name in line["segments"] for key in models for line in cells[key].values())
    ]
    absent = [name for name in looked_at if not found[name]]
    return [
        _table(recipe, name, hits, "".join(f" Of {other} there are no test rows." for other in absent))
        for name, hits in found.items()
        if any(key in hits for key in models)
    ]


def _table(recipe: str, segment: str, hits: Mapping[Key, Hits], absent: str) -> Table:
    bar = {control(name): hits[control(name)] for name in BAR if control(name) in hits}
    compared = len(bar) == len(BAR)
    verdicts = {key: verdict(one, list(bar.values())) for key, one in hits.items() if compared and key not in bar}
    best = max((one.mean for one in bar.values()), default=0.0)
    rows = [
        [*titles(key), mean_text(one.of_seed), f"[{one.low:.4f}, {one.high:.4f}]"]
        + ([f"{one.mean - best:+.4f}", verdicts[key]] if key in verdicts else ["", ""] if compared else [])
        for key, one in hits.items()
    ]
    note = (
        f"Recipe `{recipe}`. HIT@10 on the {max(one.rows for one in hits.values())} test rows of {segment}, seen items "
        "taken out. 95 %: the wider of a bootstrap over users and the exact binomial interval, bounds' means over "
        "seeds. Nothing later than training counts but in the popularity of 30 days. "
        f"{_told(verdicts, hits) if compared else _LACKING}{absent}"
    )
    head = ["backbone", "framework", "HIT@10", "95 %"]
    return Table(
        f"Cold start, {recipe}: {segment}", note, head + ([f"less the best of {_NAMED}", "verdict"] * compared), rows
    )


def _told(verdicts: Mapping[Key, str], hits: Mapping[Key, Hits]) -> str:
    """What verdicts mean, and how many of the models have which."""
    models = [key for key in verdicts if key[0] != CONTROL]
    counts = ", ".join(f"{sum(verdicts[key] == name for key in models)} {name}" for name in (ABOVE, UNDECIDED, BELOW))
    nothing = sum(hits[key].mean == 0 for key in models)
    return (
        f"Verdicts compare intervals, as lines hold no ranks to pair: {ABOVE} is an interval above those of {_NAMED}, "
        f"{BELOW} one below the best's, {UNDECIDED} one that reaches into it. Of {len(models)} models here {counts}"
        f"{f'; {nothing} without any hit' if nothing else ''}."
    )
