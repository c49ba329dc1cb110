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
from pathlib import Path

import torch

from core import memory
from core.progress import say
from core.settings import PROJECT, Workspace
from ranking.layers import SIDES, TABLES, Sizes
from ranking.loop import train_step
from ranking.ranker import Shape, build
from ranking.recipes import resolve

ROWS = (10_000, 100_000, 1_000_000, 10_000_000)
_WARM, _MEASURED = 5, 9  # steps: in the first few of large tables the kernel still zeroes the pages of gradients


def scale(rows: int, processes: int) -> float | None:
    """Milliseconds of a step of DeepFM over a table of so many users, by so many processes; None if it failed."""
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch, "seconds.json")
        command = [
            sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}",
            "-m", "benchmarks.ranking_scale", "--out", str(out), "--rows", str(rows),
        ]  # fmt: skip
        done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
        if done.returncode or not out.exists():
            say(f"{rows:,} rows, {processes} processes: failed: {done.stderr.strip().splitlines()[-1:]}")
            return None
        return json.loads(out.read_text(encoding="utf-8"))


def worker(out: Path, rows: int) -> None:
    """One of the processes of `scale`: steps on its share of a batch of 1,024 invented rows."""
    from torch import distributed
    from torchrec import KeyedJaggedTensor

    from ranking.batch import Batch
    from ranking.distributed import Group

    memory.keep_freed()
    group = Group.join()
    torch.set_num_threads(max(1, 2 // group.size))
    config = resolve(Workspace("amazon-beauty", "published"), model="deepfm", framework="none", recipe="strict", seed=1)
    model = build(config, Shape(tables=Sizes(user=rows, item=12_000, brand=2_000, category=300)))
    trained = group.spread(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=config.learning_rate, fused=True)
    share, seconds = 1024 // group.size, []
    for step in range(_WARM + _MEASURED):
        bags = share * SIDES
        values = [torch.randint(1, count, (bags,)) for count in (rows, 12_000, 2_000, 300)]
        lengths = torch.ones(len(TABLES) * bags, dtype=torch.int64)
        sparse = KeyedJaggedTensor(keys=list(TABLES), values=torch.cat(values), lengths=lengths)
        batch = Batch(sparse, torch.empty(share, 0), torch.randint(0, 2, (share,)).float())
        start = time.perf_counter()
        train_step(trained, optimizer, batch)
        if step >= _WARM:
            seconds.append(time.perf_counter() - start)
    if group.rank == 0:
        out.write_text(json.dumps(1e3 * statistics.median(seconds)), encoding="utf-8")
    distributed.destroy_process_group()


def plot(points: dict[int, dict[int, float | None]], path: Path) -> None:
    """Step time against rows, a line a number of processes."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    from llmcf.reports.plot_style import ACCENT, INK, STYLE

    with mpl.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(7, 4), layout="constrained")
        for processes, colour in ((1, INK), (2, ACCENT)):
            known = {rows: spent for rows, spent in points[processes].items() if spent is not None}
            label = f"{processes} process{'es' if processes > 1 else ''}"
            axis.plot(list(known), list(known.values()), marker="o", color=colour, label=label)
        axis.set(xscale="log", yscale="log", xlabel="rows of the user table", ylabel="milliseconds a step")
        axis.set_title("DeepFM, batch 1,024, dense Adam on 2 cores")
        axis.legend(frameon=False)
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rows", type=int, required=True)
    options = parser.parse_args()
    worker(options.out, options.rows)
