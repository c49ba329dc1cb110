"""A training run that several processes share: what they are told, what the first has made, and their own side of it.

The verb that leads writes job.json and starts the processes by torchrun; each calls `take_part`.
"""

import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from core import storage, torchrun
from core.settings import Workspace
from ict.group import Group
from ict.resume import Checkpoint

JOB, MADE = "job.json", "made.json"
G = TypeVar("G", bound=Group)
Fit = Callable[[Workspace, Mapping[str, Any], Path, Checkpoint, G], dict[str, Any]]


def lead(
    module: str, scratch: Path, job: Mapping[str, Any], *, shown: str, processes: int, nodes: int
) -> dict[str, Any]:
    """Have `module` run in so many processes on each machine; return what the first of all has made.

    Args:
        scratch: where they keep their checkpoints, on a disk that they share.
        job: `workspace`, `config`, the step's `key` and the folder `out` that the first fills.
        shown: the verb, which begins the lines of progress that are passed on.

    Raises:
        LlmcfError, UsageError: as `torchrun.launch`.
    """
    storage.write_json(scratch / JOB, job)
    torchrun.launch(module, scratch / JOB, shown=f"{shown}: ", processes=processes, nodes=nodes)
    return storage.read_json(scratch / MADE)


def join(module: str, scratch: Path, *, shown: str, processes: int, nodes: int) -> None:
    """Take part in what another machine leads.

    Raises:
        LlmcfError: if nobody leads such a run within ten minutes, or it fails.
    """
    torchrun.await_job(scratch / JOB)
    torchrun.launch(module, scratch / JOB, shown=f"{shown}: ", processes=processes, nodes=nodes)


def take_part(join_group: Callable[[], G], fit: "Fit[G]", *, shown: str) -> None:
    """One of the processes, whose command line names the job: fit, and write down what the first has made."""
    import torch
    from torch import distributed

    from core import processor
    from core.progress import Named

    warnings.simplefilter("ignore")  # of libraries, at every step
    path = Path(sys.argv[1])
    job = storage.read_json(path)
    processor.flush_denormals(torch.set_flush_denormal)  # before gloo has threads, which add up gradients
    group = join_group()
    sys.stderr = Named(sys.stderr, shown if group.rank == 0 else f"process {group.rank}")
    with torchrun.telling(path):
        checkpoint = Checkpoint(path.parent, job["key"], group)
        made = fit(Workspace(**job["workspace"]), job["config"], Path(job["out"]), checkpoint, group)
    if group.rank == 0:
        storage.write_json(path.with_name(MADE), made)
    distributed.barrier()
    distributed.destroy_process_group()
