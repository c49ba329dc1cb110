"""How `llmcf data prepare` grows with its input: Sports once to ten times over, as that many separate shops.

    .venv/bin/python -m benchmarks.preparation

A copy has users and items of its own, so that everything grows alike: users, items, interactions and rows. Needs the
prepared Parquet of the data set in LLMCF_SHARED. Writes benchmarks/results/preparation.{json,md,svg}.
"""

import argparse
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks import measured
from core import settings, storage
from core.data.amazon import AMAZON
from core.errors import LlmcfError
from core.progress import say

COPIES = (1, 2, 4, 7, 10)
DATASET, FOLDER = "amazon-sports", "Sports"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One preparation, in a home of its own."""

    copies: int
    interactions: int
    seconds: float
    peak_mib: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    assert DATASET in AMAZON
    source = settings.shared() / "data" / "amazon" / FOLDER
    if not (source / "interactions.parquet").is_file():
        raise LlmcfError(f"{source} holds no prepared tables; set LLMCF_SHARED")
    figures = [_measure(source, copies) for copies in COPIES]
    slope = exponent(figures)
    command = "python -m benchmarks.preparation"
    page = _page(figures, slope, command)
    account = {"command": command, "exponent": slope, "figures": [asdict(figure) for figure in figures]}
    measured.write("preparation", account, page)
    _plot(figures, measured.RESULTS / "preparation.svg")
    say(page)


def exponent(figures: list[Figure]) -> float:
    """The slope of log seconds over log interactions by least squares; 1 is linear."""
    size, seconds = (np.log([getattr(figure, name) for figure in figures]) for name in ("interactions", "seconds"))
    return round(float(np.polyfit(size, seconds, 1)[0]), 3)


def _measure(source: Path, copies: int) -> Figure:
    with storage.scratch_folder(settings.home() / ".preparation") as scratch:
        interactions = replicate(source, scratch / "amazon" / FOLDER, copies)
        say(f"preparing {interactions:,} interactions")
        command = [sys.executable, "-m", "llmcf", "data", "prepare", "--dataset", DATASET, "--source", str(scratch)]
        spent = measured.run(command, environment={"LLMCF_HOME": str(scratch / "home")})
    return Figure(copies=copies, interactions=interactions, seconds=round(spent.seconds, 2), peak_mib=spent.peak_mib)


def replicate(source: Path, folder: Path, copies: int) -> int:
    """Write `copies` of the tables side by side; returns the number of interactions."""
    folder.mkdir(parents=True)
    tables = {name: pl.read_parquet(source / f"{name}.parquet") for name in ("interactions", "items", "users")}
    above = {name: int(tables[f"{name}s"][name].max()) + 1 for name in ("user", "item")}  # pyright: ignore[reportArgumentType]
    for name, table in tables.items():
        parts = [
            table.with_columns(
                *((pl.col(key) + copy * above[key]).cast(table.schema[key]) for key in above if key in table.columns),
                *(pl.col(raw) + f"-{copy}" for raw in ("asin", "reviewerID") if raw in table.columns and copy),
            )
            for copy in range(copies)
        ]
        pl.concat(parts).write_parquet(folder / f"{name}.parquet")
    return len(tables["interactions"]) * copies


def _plot(figures: list[Figure], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    millions = [figure.interactions / 1e6 for figure in figures]
    with mpl.rc_context({"svg.hashsalt": "llmcf", "axes.spines.top": False, "axes.spines.right": False}):
        figure, (time, memory) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
        time.plot(millions, [f.seconds for f in figures], "o-", color="#2c3e50", label="measured")
        linear = [figures[0].seconds * f.copies for f in figures]
        time.plot(millions, linear, "--", color="#aab7c4", label="the first, times the input")
        time.set(xlabel="interactions, millions", ylabel="seconds", xlim=(0, None), ylim=(0, None))
        time.legend(frameon=False)
        memory.plot(millions, [f.peak_mib / 1024 for f in figures], "o-", color="#c0392b")
        memory.set(xlabel="interactions, millions", ylabel="peak memory, GiB", xlim=(0, None), ylim=(0, None))
        with storage.atomic_path(path) as beside:
            figure.savefig(beside, format="svg", metadata={"Date": None})
        plt.close(figure)


def _page(figures: list[Figure], slope: float, command: str) -> str:
    first = figures[0]
    lines = [
        "# Preparing more data",
        "",
        f"`llmcf data prepare --dataset {DATASET}` on one to ten copies of the data, each with users and items of its "
        "own; start of the process included.",
        f"On {measured.sentence()}. `{command}`",
        "",
        f"Seconds grow with the input to the power of {slope:.2f}; 1 is linear.",
        "",
        "| copies | interactions | seconds | of the first | peak MiB |",
        "|---|---|---|---|---|",
        *(
            f"| {f.copies} | {f.interactions:,} | {f.seconds:.1f} | {f.seconds / first.seconds:.2f} | {f.peak_mib:,} |"
            for f in figures
        ),
        "",
        "![growth](preparation.svg)",
    ]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
