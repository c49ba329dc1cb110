"""RecBole's SASRec as a process of its own, which trains some steps when it is asked to."""

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.csv as pc

from core import environments
from core.data import tables
from core.errors import LlmcfError
from core.progress import say
from core.settings import Workspace
from retrieval_stage.configs import RetrievalConfig, SasRecConfig

_WORKER = Path(__file__).with_name("recbole_worker.py")
_COLUMNS = {"user": "user_id:token", "item": "item_id:token", "position": "timestamp:float"}


def settings(config: RetrievalConfig, *, alike: bool, history: int | None = None) -> dict[str, Any]:
    """RecBole's configuration with layers, width and loss of `config`, and a target a prefix; the rest is its own.

    Args:
        alike: heads and the width of the feed-forward network are those of `config` too.
        history: its longest history, if not its own.
    """
    assert isinstance(config.backbone, SasRecConfig)
    return {
        "loss_type": "CE",
        "train_neg_sample_args": None,
        "n_layers": config.backbone.layers,
        "hidden_size": config.width,
        "load_col": {"inter": [name.partition(":")[0] for name in _COLUMNS.values()]},
        "eval_args": {"split": {"LS": "valid_and_test"}, "group_by": "user", "order": "TO", "mode": "full"},
        "use_gpu": False,
        "show_progress": False,
        "state": "WARNING",
        **({"n_heads": config.backbone.heads, "inner_size": config.width} if alike else {}),
        **({} if history is None else {"MAX_ITEM_LIST_LENGTH": history}),
    }


def write_atomic(interactions: pa.Table, folder: Path, name: str) -> Path:
    """RecBole's "atomic" file of `schemas.INTERACTIONS`; a user's order is by position, as the workspace has it."""
    path = folder / name / f"{name}.inter"
    path.parent.mkdir()
    with path.open("wb") as out:
        out.write(("\t".join(_COLUMNS.values()) + "\n").encode())  # pyarrow puts names in quotes, RecBole takes none
        pc.write_csv(interactions.select(list(_COLUMNS)), out, pc.WriteOptions(include_header=False, delimiter="\t"))
    return path


class Process:
    """Talks with `recbole_worker`.

    Args:
        about: what it said of itself: versions, settings, targets, batches and parameters.
    """

    def __init__(self, process: "subprocess.Popen[str]", log: IO[bytes]) -> None:
        self._process, self._log = process, log
        self.about = self._read()

    def turn(self, steps: int) -> dict[str, Any]:
        """Train that many steps: wall and processor seconds, targets and the mean loss.

        Raises:
            LlmcfError: if the process died, with the end of what it said.
        """
        assert self._process.stdin
        self._process.stdin.write(json.dumps({"steps": steps}) + "\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if line:
            return json.loads(line)
        code = self._process.wait()
        self._log.seek(0)
        said = self._log.read().decode("utf-8", "replace").strip().splitlines()[-8:]
        raise LlmcfError("\n".join([f"RecBole died, exit code {code}:", *said]))


@contextmanager
def started(ws: Workspace, options: dict[str, Any], threads: int) -> Iterator[Process]:
    """RecBole over the workspace's interactions, in a folder that is gone afterwards.

    Raises:
        Missing: if its environment is not built.
        LlmcfError: if it cannot start.
    """
    command = [str(environments.python("recbole")), "-P", str(_WORKER)]
    with tempfile.TemporaryDirectory() as scratch, tempfile.TemporaryFile() as log:
        write_atomic(tables.interactions(ws), Path(scratch), ws.dataset)
        process = subprocess.Popen(
            [*command, scratch, ws.dataset, json.dumps(options), str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env={**os.environ, "PYTHONPATH": ""},
        )
        try:
            made = Process(process, log)
            say(f"RecBole: {made.about}")
            yield made
        finally:
            process.kill()
            process.communicate()
