"""How often a gate turns away a release that differs from the live one by its seed alone.

    .venv/bin/python -m benchmarks.margins [--dataset amazon-beauty]

Reads the tracked lines of results/ranking and results/retrieval: every two seeds of one configuration are a live
release and its successor, in both orders. By how much their test metrics differ is what a margin of gates.toml has to
leave room for, beside the interval of the difference over users. Writes benchmarks/results/margins.{json,md}.
"""

import argparse
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import permutations
from typing import Any

import numpy as np

from benchmarks import measured
from core import measurements
from core.measurements import Line
from core.settings import Workspace
from llmcf.reports import ranking_cells, retrieval_cells
from llmcf.reports.measured import cells_of as measured_cells
from llmcf.serving.thresholds import Thresholds

# To either side, the 95 % interval of the difference of two releases, 5,000 users of Beauty (as the thresholds say).
REACH = {"auc": 0.004, "gauc": 0.009, "logloss": 0.006, "ece": 0.007}
METRICS = {
    "ranking": {"auc": "auc", "gauc": "gauc", "logloss": "logloss", "ece": "ece"},
    "retrieval": {"hit": "hit@10", "ndcg": "ndcg@10"},
}
_LESS_IS_BETTER = {"logloss", "ece"}
_SEEDS = 3  # at least, of a configuration that counts


@dataclass(frozen=True, slots=True)
class Gate:
    """What was found for one gate; `turned_away` are shares of all pairs, by what decides (`interval` where its reach
    is known)."""

    name: str
    margin: float
    pairs: int
    quantiles: dict[int, float]
    turned_away: dict[str, float]


def worse_by(cells: Iterable[Mapping[int, Line]], metric: str, *, less_is_better: bool) -> np.ndarray:
    """By how much each seed's test metric is worse than each other seed's of the same cell; shape (pairs,)."""
    groups = (
        [line["metrics"]["test"][metric] for line in cell.values() if metric in line["metrics"]["test"]]
        for cell in cells
    )
    worse = [new - live for values in groups if len(values) >= _SEEDS for live, new in permutations(values, 2)]
    return np.array(worse, dtype=np.float64) * (1 if less_is_better else -1)


def cells_of(task: str, dataset: str) -> list[Mapping[int, Line]]:
    """The tracked lines of today's recipes by cell and seed, each state of the rows for itself."""
    alike: dict[tuple[str, str, str], list[Line]] = defaultdict(list)
    for line in measurements.read(measurements.file(task, dataset)):
        ws = Workspace(dataset, line["order"], line["as_of"])
        if (
            ranking_cells.of_today(ws, line["config"])
            if task == "ranking"
            else retrieval_cells.of_today(line["config"])
        ):
            alike[ws.order, ws.as_of, line["data"]].append(line)
    return [cell for lines in alike.values() for cell in measured_cells(lines).values()]


def gate(name: str, worse: np.ndarray, margin: float) -> Gate:
    """The account of one gate; `worse` is (pairs,), both orders of each two seeds."""
    quantiles = {share: float(np.quantile(np.abs(worse), share / 100)) for share in (50, 90, 95)}
    reaches = {"estimate": 0.0} | ({"interval": REACH[name]} if name in REACH else {})
    turned_away = {by: float(np.mean(worse + reach > margin)) for by, reach in reaches.items()}
    return Gate(name, margin, len(worse) // 2, quantiles, turned_away)


def page(dataset: str, gates: Iterable[Gate], command: str) -> str:
    """The table as Markdown."""
    rows = [
        f"| `{one.name}` | {one.margin:.3f} | {one.pairs} | "
        + " | ".join(f"{value:.4f}" for value in one.quantiles.values())
        + f" | {one.turned_away['estimate']:.1%} | "
        + (f"{one.turned_away['interval']:.1%}" if "interval" in one.turned_away else "")
        + " |"
        for one in gates
    ]
    reaches = ", ".join(f"{value:.3f} of {name}" for name, value in REACH.items())
    head = (
        f"# Margins of the gates, and what another seed does\n\n`{command}`, from the tracked lines of {dataset}: "
        f"every two seeds of one configuration that has {_SEEDS} or more, test rows. Quantiles are of the absolute "
        "difference. A pair counts as turned away where the later seed is worse than the earlier by more than the "
        "margin, by the estimate alone, or with what the interval of the difference reaches beyond it "
        f"({reaches}). Each pair counts in both orders.\n\n"
        "| gate | margin | pairs | 50 % | 90 % | 95 % | turned away by the estimate | by the interval |\n"
        "|---|---|---|---|---|---|---|---|\n"
    )
    return head + "\n".join(rows) + f"\n\n{measured.sentence()}.\n"


def measure(cells: Mapping[str, Sequence[Mapping[int, Line]]]) -> list[Gate]:
    """Of each gate that has a pair, against the default margins; `cells` by task."""
    limits, found = Thresholds(), []
    for task, metrics in METRICS.items():
        for name, metric in metrics.items():
            worse = worse_by(cells[task], metric, less_is_better=name in _LESS_IS_BETTER)
            if len(worse):
                found.append(gate(name, worse, getattr(limits, name).margin))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="amazon-beauty")
    dataset = parser.parse_args().dataset
    gates = measure({task: cells_of(task, dataset) for task in METRICS})
    account: dict[str, Any] = {"dataset": dataset, "gates": [asdict(one) for one in gates]}
    measured.write("margins", account, page(dataset, gates, f"python -m benchmarks.margins --dataset {dataset}"))


if __name__ == "__main__":
    main()
