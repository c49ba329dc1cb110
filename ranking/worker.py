"""One of the processes that train a ranker together, started by torchrun: `-m ranking.worker JOB.json`."""

import sys
import warnings
from pathlib import Path

import torch
from torch import distributed

from core import processor, storage, torchrun
from core.progress import Named
from core.settings import Workspace
from ict.resume import Checkpoint
from ranking.distributed import Group
from ranking.loop import fit_and_measure
from ranking.recipes import from_json
from ranking.trainer import MADE, SHOWN


def main() -> None:
    warnings.simplefilter("ignore")  # of libraries, at every step
    path = Path(sys.argv[1])
    job = storage.read_json(path)
    processor.flush_denormals(torch.set_flush_denormal)  # before gloo has threads, which add up gradients
    group = Group.join()
    sys.stderr = Named(sys.stderr, SHOWN if group.rank == 0 else f"process {group.rank}")
    ws, config = Workspace(**job["workspace"]), from_json(job["config"])
    with torchrun.telling(path):
        made = fit_and_measure(ws, config, Path(job["out"]), Checkpoint(path.parent, job["key"], group), group)
    if group.rank == 0:
        storage.write_json(path.with_name(MADE), made)
    distributed.barrier()
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
