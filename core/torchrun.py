"""Runs a module under torchrun, a process a device, on one machine or several, and waits for it.

As a module it is torchrun, but ends with the process that has started it.
"""

import ctypes
import os
import re
import runpy
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from core import errors, settings, storage
from core.errors import LlmcfError, Unavailable, UsageError
from core.progress import say
from core.settings import PROJECT

_TAIL = 25  # lines of a failed process that an error shows
_PATIENCE_S = 600.0  # for the machine that leads
_SET_PARENT_DEATH_SIGNAL = 1  # of prctl.h
_THREADS = "OMP_NUM_THREADS"  # torchrun gives each of several processes one, however many cores there are


def launch(
    module: str, job: Path, *, shown: str, processes: int, nodes: int = 1, environment: Mapping[str, str] | None = None
) -> None:
    """Run `module` on the file `job` in `processes` processes on each of `nodes` machines.

    With several machines the same verb runs on each, with a shared LLMCF_HOME, and LLMCF_RENDEZVOUS names one of them.

    Args:
        shown: how the lines begin that are passed on as progress.
        environment: the processes' variables; this process's if not given. Unless they say how many threads a process
            has, the processes of a machine share its cores.

    Raises:
        LlmcfError: if it fails: what a process told, or else the last lines that were printed.
        UsageError: if several machines are asked for and LLMCF_RENDEZVOUS does not say where they meet.
    """
    if nodes == 1:
        place = ["--standalone"]
    elif meeting := settings.rendezvous():
        place = ["--nnodes", str(nodes), "--rdzv-backend", "c10d", "--rdzv-endpoint", meeting]
        place += ["--rdzv-id", re.sub(r"\W+", "-", f"{job.parent.name}-{job.stem}")]
    else:
        raise UsageError(f"--nodes {nodes}: set LLMCF_RENDEZVOUS to host:port of one of the machines, on each of them")
    threads = str(max(1, len(os.sched_getaffinity(0)) // processes))
    environment = {_THREADS: threads, **(os.environ if environment is None else environment)}
    command = [sys.executable, "-m", "core.torchrun", *place, "--nproc_per_node", str(processes)]
    told = _told(job)
    told.unlink(missing_ok=True)
    try:
        watch([*command, "-m", module, str(job)], shown=shown, environment=environment)
    except LlmcfError:
        if not told.exists():
            raise
        raise errors.from_json(storage.read_json(told)) from None


@contextmanager
def telling(job: Path) -> Iterator[None]:
    """In a process that `launch` has started: what is raised for the user is raised by `launch` too.

    If that is killed, so is this process, which would otherwise go on beside its successor.
    """
    end_with_parent()
    try:
        yield
    except LlmcfError as error:
        storage.write_json(_told(job), errors.as_json(error))
        raise


def end_with_parent() -> None:
    """Have the kernel kill this process when the one that has started it ends."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)


def await_job(job: Path) -> None:
    """Wait until the machine that leads a run has written its job.

    Raises:
        Unavailable: if none does within ten minutes.
    """
    start = time.monotonic()
    while not job.exists():
        if time.monotonic() - start > _PATIENCE_S:
            raise Unavailable(f"no machine leads this run ({job} is missing); start it without --join")
        time.sleep(1)


def _told(job: Path) -> Path:
    return job.with_name(f"{job.stem}.error.json")


def watch(command: list[str], *, shown: str, environment: Mapping[str, str] | None = None) -> None:
    """Run a command, pass its progress on, and keep its last lines for the error.

    Raises:
        LlmcfError: if it fails.
    """
    last: deque[str] = deque(maxlen=_TAIL)
    summary = False  # torchrun's own, after the processes' last words
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
                if line.startswith(shown):
                    say(line.rstrip())
            code = process.wait()
        except BaseException:
            process.terminate()
            raise
    if code != 0:
        raise LlmcfError(f"the training process ended with code {code}:\n" + "\n".join(last))


if __name__ == "__main__":
    end_with_parent()
    runpy.run_module("torch.distributed.run", run_name="__main__", alter_sys=True)
