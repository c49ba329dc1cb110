"""Step time of a ranker against rows of its tables and processes: a part of `benchmarks.ranking`.

As a module it is one of the processes that torchrun starts.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

from core import memory, processor
from core.progress import say
from core.settings import PROJECT, Workspace
from ranking import big_tables
from ranking.averaging import Averages
from ranking.layers import SIDES, TABLES, Sizes
from ranking.loop import optimizer_of, train_step
from ranking.ranker import Shape, build
from ranking.recipes import resolve

ROWS = (10_000, 100_000, 1_000_000, 10_000_000)
BY_ROWS = 10_000  # the user and the item table then are, in each of these
_WARM, _MEASURED = 5, 9  # steps: in the first few of large tables the kernel still zeroes the pages of gradients


def scale(rows: int, processes: int, least: int) -> float | None:
    """Milliseconds of a step of DeepFM over a table of so many users, by so many processes; None if it failed.

    Args:
        least: tables of so many rows are trained by rows; 0 for none.
    """
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch, "seconds.json")
        command = [
            sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}",
            "-m", "benchmarks.ranking_scale", "--out", str(out), "--rows", str(rows), "--least", str(least),
        ]  # fmt: skip
        done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
        if done.returncode or not out.exists():
            say(f"{rows:,} rows, {processes} processes: failed: {done.stderr.strip().splitlines()[-1:]}")
            return None
        return json.loads(out.read_text(encoding="utf-8"))


def worker(out: Path, rows: int, least: int) -> None:
    """One of the processes of `scale`: steps on its share of a batch of 1,024 invented rows."""
    from torch import distributed
    from torchrec import KeyedJaggedTensor

    from ranking.batch import Batch
    from ranking.distributed import Group

    memory.keep_freed()
    processor.flush_denormals(torch.set_flush_denormal)
    group = Group.join()
    torch.set_num_threads(max(1, 2 // group.size))
    config = resolve(Workspace("amazon-beauty", "published"), model="deepfm", framework="none", recipe="strict", seed=1)
    model = build(config, Shape(tables=Sizes(user=rows, item=12_000, brand=2_000, category=300)))
    config = replace(config, sparse_rows_from=least)
    trained = group.distribute(model, config)
    big = big_tables.Rows(big_tables.weights(model), share=config.averaging, decay=1e-3)
    big.watch(model)
    optimizer = optimizer_of(model, config)
    averages = Averages(big_tables.others(model), big, config.averaging)
    share, seconds = 1024 // group.size, []
    for step in range(_WARM + _MEASURED):
        bags = share * SIDES
        values = [torch.randint(1, count, (bags,)) for count in (rows, 12_000, 2_000, 300)]
        lengths = torch.ones(len(TABLES) * bags, dtype=torch.int64)
        sparse = KeyedJaggedTensor(keys=list(TABLES), values=torch.cat(values), lengths=lengths)
        batch = Batch(sparse, torch.empty(share, 0), torch.randint(0, 2, (share,)).float())
        start = time.perf_counter()
        train_step(trained, optimizer, batch)
        averages.step()
        if step >= _WARM:
            seconds.append(time.perf_counter() - start)
    if group.rank == 0:
        out.write_text(json.dumps(1e3 * statistics.median(seconds)), encoding="utf-8")
    distributed.destroy_process_group()


def ways() -> dict[str, tuple[int, int]]:
    """How tables are trained: processes, and from how many rows on by rows."""
    return {
        f"{processes} process{'es' if processes > 1 else ''}, {kind}": (processes, least)
        for processes in (1, 2)
        for kind, least in (("every row", 0), ("by rows", BY_ROWS))
    }


def plot(points: dict[str, dict[int, float | None]], path: Path) -> None:
    """Step time against rows, a line a way."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    from llmcf.reports.plot_style import ACCENT, INK, STYLE

    with mpl.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(7, 4), layout="constrained")
        for name, (processes, least) in ways().items():
            known = {rows: spent for rows, spent in points[name].items() if spent is not None}
            colour, line = INK if processes == 1 else ACCENT, "--" if least else "-"
            axis.plot(list(known), list(known.values()), line, marker="o", color=colour, label=name)
        axis.set(xscale="log", yscale="log", xlabel="rows of the user table", ylabel="milliseconds a step")
        axis.set_title("DeepFM, batch 1,024, on 2 cores")
        axis.legend(frameon=False)
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--least", type=int, required=True)
    options = parser.parse_args()
    worker(options.out, options.rows, options.least)
