"""One of the processes that train a ranker together: `-m ranking.worker JOB.json`, started by torchrun."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.settings import Workspace
from ict import shared_run
from ict.resume import Checkpoint
from ranking.distributed import Group
from ranking.loop import fit_and_measure
from ranking.recipes import from_json
from ranking.trainer import SHOWN


def fit(ws: Workspace, config: Mapping[str, Any], out: Path, checkpoint: Checkpoint, group: Group) -> dict[str, Any]:
    """The run that a job describes."""
    return fit_and_measure(ws, from_json(dict(config)), out, checkpoint, group)


if __name__ == "__main__":
    shared_run.take_part(Group.join, fit, shown=SHOWN)
