"""How preparing, building features, joining them and finding examples grow: Sports once to thirty times over.

    .venv/bin/python -m benchmarks.growth
    .venv/bin/python -m benchmarks.growth --copies 1 --trial

A copy has users and items of its own, so that everything grows alike: users, items, interactions, rows and examples.
Each verb runs in a process of its own, start included. Examples are a tenth of the rows, with invented vectors, and
their search is timed over some batches of requests and told for all rows: its cost is rows times examples. Seconds are
of the processor, all threads together: what else runs on the machine changes them little. A stage that
fails is told as such and not tried on more copies. Needs the prepared Parquet of the
data set in LLMCF_SHARED. Writes benchmarks/results/growth.{json,md,svg}; `--trial` prints the page instead.
"""

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from benchmarks import measured
from benchmarks.preparation import DATASET, FOLDER, replicate
from core import settings, storage
from core.data import tables
from core.errors import LlmcfError
from core.progress import say
from core.settings import Workspace

COPIES = (1, 2, 4, 7, 10, 20, 30)
VERBS = {"prepare": "data prepare", "build": "features build", "apply": "features apply", "join": "features join"}
STAGES = ("prepare", "build", "join", "neighbours")  # `apply` only registers
_ORDER = "published"
_WIDTH = 384  # of a vector, as the carried encoder's
_BATCHES = 8  # of requests, of the search that is timed, from all over the rows
_SHARE = 10  # rows an example


@dataclass(slots=True, kw_only=True)
class Figure:
    """One size: seconds and peak MiB of each stage that ran, and why another did not."""

    copies: int
    interactions: int
    rows: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    peak_mib: dict[str, int] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--copies", type=int, nargs="+", default=list(COPIES), help="sizes, ascending")
    parser.add_argument("--trial", action="store_true", help="print the page, write no result")
    parser.add_argument("--search", type=Path, help=argparse.SUPPRESS)  # the child that times the search
    options = parser.parse_args()
    if options.search:
        storage.write_json(options.search, {"seconds": search()})
        return
    source = settings.shared() / "data" / "amazon" / FOLDER
    if not (source / "interactions.parquet").is_file():
        raise LlmcfError(f"{source} holds no prepared tables; set LLMCF_SHARED")
    figures: list[Figure] = []
    for copies in sorted(options.copies):
        given_up = {stage for figure in figures for stage in figure.failed}
        figures.append(measure(source, copies, given_up))
        if not options.trial:  # after each size: the larger ones take hours
            _write(figures)
    say(page(figures))


def _write(figures: list[Figure]) -> None:
    slopes = {stage: exponent(figures, stage) for stage in STAGES}
    account = {"figures": [asdict(figure) for figure in figures], "exponents": slopes}
    measured.write("growth", account, page(figures))
    plot(figures, measured.RESULTS / "growth.svg")


def measure(source: Path, copies: int, given_up: set[str]) -> Figure:
    """All stages at one size, in a home of its own; those `given_up` on fewer copies are left out."""
    with storage.scratch_folder(settings.home() / ".growth") as scratch:
        interactions = replicate(source, scratch / "amazon" / FOLDER, copies)
        found = Figure(copies=copies, interactions=interactions)
        home = scratch / "home"
        for stage, verb in VERBS.items():
            command = [sys.executable, "-m", "llmcf", *verb.split(), "--dataset", DATASET, "--order", _ORDER]
            command += ["--source", str(scratch)] if stage == "prepare" else []
            if not _run(found, stage, command, home, given_up):
                return found
        found.rows = pq.read_metadata(home / DATASET / _ORDER / "latest" / "training" / "rows.parquet").num_rows
        if "neighbours" not in given_up:
            _search(found, home, scratch / "search.json")
    return found


def _search(found: Figure, home: Path, told: Path) -> None:
    if _run(found, "neighbours", [sys.executable, "-m", "benchmarks.growth", "--search", str(told)], home, set()):
        found.seconds["neighbours"] = round(storage.read_json(told)["seconds"], 2)


def _run(found: Figure, stage: str, command: list[str], home: Path, given_up: set[str]) -> bool:
    """Whether the stage ran; what came of it is in `found`."""
    if stage in given_up:
        return False
    say(f"{found.copies} x {DATASET}: {stage}")
    try:
        spent = measured.run(command, environment={"LLMCF_HOME": str(home)})
    except LlmcfError as error:
        found.failed[stage] = str(error).splitlines()[-1][:120]
        return False
    found.seconds[stage], found.peak_mib[stage] = round(spent.cpu, 2), spent.peak_mib
    return True


def search() -> float:
    """Seconds of the processor that the exact search takes for all training rows of this home, from some batches."""
    import torch

    from ict.examples import ExampleSet, Requests
    from ict.neighbours import ExactSearch, NeighbourConfig

    rows = tables.training_rows(Workspace(DATASET, _ORDER))
    generator = torch.Generator().manual_seed(1)
    items = int(np.max(rows["item"].to_numpy())) + 1
    vectors_VE = torch.nn.functional.normalize(torch.randn(items, _WIDTH, generator=generator), dim=1)
    numbers = torch.from_numpy(rows["row"].to_numpy().astype(np.int64))
    sample_N = numbers[torch.randperm(len(numbers), generator=generator)[: len(numbers) // _SHARE]].sort().values
    cot_NE = torch.zeros(len(sample_N), 1)  # the search reads keys of items, never texts
    examples = ExampleSet.of(rows, sample_N, cot_NE, vectors_VE)
    exact = ExactSearch(examples.candidates(), vectors_VE, NeighbourConfig(stage="ranking", recipe="strict", seed=1))
    requests = Requests.of(rows)
    starts = torch.linspace(0, max(0, len(rows) - exact.batch), _BATCHES).long().tolist()
    begun, asked = time.process_time(), 0
    for start in starts:
        batch = requests.slice(start, start + exact.batch)
        exact.best(batch)
        asked += len(batch)
    return (time.process_time() - begun) * len(rows) / asked


def exponent(figures: list[Figure], stage: str) -> float | None:
    """The slope of log seconds over log interactions by least squares; 1 is linear. None of fewer than two figures."""
    known = [figure for figure in figures if stage in figure.seconds]
    if len(known) < 2:
        return None
    size = np.log([figure.interactions for figure in known])
    return round(float(np.polyfit(size, np.log([figure.seconds[stage] for figure in known]), 1)[0]), 3)


def page(figures: list[Figure]) -> str:
    """What the figures say."""

    def cell(figure: Figure, stage: str, values: Callable[[Figure], dict], form: str) -> str:
        if stage in figure.failed:
            return figure.failed[stage].replace("|", " ")
        return format(values(figure)[stage], form) if stage in values(figure) else ""

    slopes = {stage: exponent(figures, stage) for stage in STAGES}
    told = ", ".join(f"{stage} {slope:.2f}" for stage, slope in slopes.items() if slope is not None)
    head = "| copies | interactions | rows | " + " | ".join(STAGES) + " |"
    rule = "|" + "---|" * (3 + len(STAGES))

    def table(values: Callable[[Figure], dict], form: str) -> list[str]:
        return [
            head,
            rule,
            *(
                f"| {f.copies} | {f.interactions:,} | {f.rows:,} | "
                + " | ".join(cell(f, stage, values, form) for stage in STAGES)
                + " |"
                for f in figures
            ),
        ]

    lines = [
        "# Growth",
        "",
        f"`data prepare`, `features build`, `features join` and the search for in-context examples on copies of "
        f"{DATASET}, each with users and items of its own; start of the process included, but for the search, which is "
        f"timed over {_BATCHES} batches and told for all rows. Examples are a tenth of the rows, vectors invented.",
        f"On {measured.sentence()}. `python -m benchmarks.growth --copies {' '.join(str(f.copies) for f in figures)}`",
        "",
        f"Seconds grow with the interactions to the power of: {told}; 1 is linear." if told else "One size alone.",
        "",
        "Seconds of the processor, all threads together (on two cores it takes half as long at best):",
        "",
        *table(lambda figure: figure.seconds, ".1f"),
        "",
        "Peak MiB:",
        "",
        *table(lambda figure: figure.peak_mib, ",d"),
        "",
        "![growth](growth.svg)",
    ]
    return "\n".join([*lines, ""])


def plot(figures: list[Figure], path: Path) -> None:
    """Seconds and memory against interactions, both axes logarithmic."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    with mpl.rc_context({"svg.hashsalt": "llmcf", "axes.spines.top": False, "axes.spines.right": False}):
        figure, (time_axis, memory_axis) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
        for stage in STAGES:
            known = [one for one in figures if stage in one.seconds]
            size = [one.interactions / 1e6 for one in known]
            time_axis.plot(size, [one.seconds[stage] for one in known], "o-", label=stage)
            memory_axis.plot(size, [one.peak_mib[stage] / 1024 for one in known], "o-", label=stage)
        sizes = [round(one.interactions / 1e6, 1) for one in figures]
        for axis, what in ((time_axis, "seconds of the processor"), (memory_axis, "peak memory, GiB")):
            axis.set(xscale="log", yscale="log", xlabel="interactions, millions", ylabel=what)
            axis.set_xticks(sizes, map(str, sizes))
            axis.minorticks_off()
        memory_axis.set_yticks(gib := [0.5, 1, 2, 4, 8, 16, 32], map(str, gib))
        figure.legend(*time_axis.get_legend_handles_labels(), loc="outside upper center", ncols=4, frameon=False)
        with storage.atomic_path(path) as beside:
            figure.savefig(beside, format="svg", metadata={"Date": None})
        plt.close(figure)


if __name__ == "__main__":
    main()
