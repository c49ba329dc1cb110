"""Starts the training worker under torchrun, a process a device, on one machine or several."""

import os
import re
import subprocess
import sys
from collections import deque
from pathlib import Path

from filelock import FileLock

from core import settings
from core.errors import LlmcfError, UsageError
from core.progress import say
from core.settings import PROJECT

_WORKER = "llm.recgen.worker"
_BUILD = "build"  # what the worker is given instead of a job
_BUILT = "built"  # marks a finished build
_TAIL = 25  # lines of a failed worker that an error shows


def launch(job: Path, *, processes: int, nodes: int = 1) -> None:
    """Run the worker on `job` in `processes` processes on each of `nodes` machines, and wait for it.

    With several machines the same verb runs on each, with a shared LLMCF_HOME, and LLMCF_RENDEZVOUS names one of them.

    Raises:
        LlmcfError: with the last lines it printed, if it fails.
        UsageError: if several machines are asked for and LLMCF_RENDEZVOUS does not say where they meet.
    """
    if nodes == 1:
        place = ["--standalone"]
    elif meeting := settings.rendezvous():
        place = ["--nnodes", str(nodes), "--rdzv-backend", "c10d", "--rdzv-endpoint", meeting]
        place += ["--rdzv-id", re.sub(r"\W+", "-", job.stem)]
    else:
        raise UsageError(f"--nodes {nodes}: set LLMCF_RENDEZVOUS to host:port of one of the machines, on each of them")
    command = [sys.executable, "-m", "torch.distributed.run", *place, "--nproc_per_node", str(processes)]
    _watch([*command, "-m", _WORKER, str(job)], _environment(_extensions()))


def _watch(command: list[str], environment: dict[str, str]) -> None:
    """Run, pass its progress on, keep its last lines for the error."""
    last: deque[str] = deque(maxlen=_TAIL)
    summary = False  # torchrun's own, after the worker's last words
    with subprocess.Popen(
        command,
        cwd=PROJECT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout
        try:
            for line in process.stdout:
                summary = summary or "failed (exitcode:" in line
                if not summary:
                    last.append(line.rstrip())
                if line.startswith("recgen:"):
                    say(line.rstrip())
            code = process.wait()
        except BaseException:
            process.terminate()
            raise
    if code != 0:
        raise LlmcfError(f"the training process ended with code {code}:\n" + "\n".join(last))


def _environment(extensions: Path) -> dict[str, str]:
    import torch

    out = {
        **os.environ,
        "TORCH_EXTENSIONS_DIR": str(extensions),
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    if not torch.cuda.is_available():
        out["DS_ACCELERATOR"] = "cpu"
    path = str(Path(sys.executable).parent)  # ninja, for DeepSpeed's build
    return out | {"PATH": f"{path}{os.pathsep}{out.get('PATH', '')}"}


def _extensions() -> Path:
    """The folder of DeepSpeed's compiled operators; the first run on a machine compiles them, one process at a time.

    A build that was killed leaves a lock file that later ones would wait for without end. Nobody else builds while we
    hold our own lock, so it is removed.
    """
    import torch

    version = re.sub(r"\W+", "_", torch.__version__)
    folder = settings.home() / "torch-extensions" / version
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f".{version}.lock")):
        if not (folder / _BUILT).exists():
            for left_over in folder.rglob("lock"):
                left_over.unlink()
            say("recgen: compiling DeepSpeed's operators, once on this machine")
            _watch([sys.executable, "-m", _WORKER, _BUILD], _environment(folder))
            (folder / _BUILT).touch()
    return folder
