"""One of the processes that train a retrieval model: `-m retrieval_stage.worker JOB.json`, started by torchrun."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from core.settings import Workspace
from ict import shared_run
from ict.group import Group
from ict.resume import Checkpoint
from retrieval_stage.loop import fit_and_measure
from retrieval_stage.recipes import from_json
from retrieval_stage.trainer import SHOWN


def fit(ws: Workspace, config: Mapping[str, Any], out: Path, checkpoint: Checkpoint, group: Group) -> dict[str, Any]:
    """The run that a job describes."""
    return fit_and_measure(ws, from_json(dict(config)), out, checkpoint, group)


if __name__ == "__main__":
    shared_run.take_part(partial(Group.join, gpus=False), fit, shown=SHOWN)  # towers are on the CPU
