"""A command's wall time and peak memory, and the sentence that says what a figure was measured on."""

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core import machine, storage
from core.errors import LlmcfError
from core.settings import PROJECT

RESULTS = PROJECT / "benchmarks" / "results"


@dataclass(frozen=True, slots=True)
class Spent:
    """Seconds from start to end, the largest resident set in MiB of the process or one of its children, and the
    seconds of the processor that it and they took, all threads together."""

    seconds: float
    peak_mib: int
    cpu: float


def run(
    command: Sequence[str],
    *,
    folder: Path = PROJECT,
    environment: Mapping[str, str] | None = None,
    done: Sequence[int] = (0,),
) -> Spent:
    """Run a command to its end; its output goes to a file that is shown if it fails.

    Args:
        done: exit codes of a run that has not failed.

    Raises:
        LlmcfError: if it fails, with the end of what it said.
    """
    with storage.scratch_folder(RESULTS / ".scratch") as scratch:
        log = scratch / "log"
        start = time.perf_counter()
        with log.open("wb") as out:
            process = subprocess.Popen(
                list(command), cwd=folder, env={**os.environ, **(environment or {})}, stdout=out, stderr=out
            )
            _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode not in done:
            words = log.read_text(encoding="utf-8", errors="replace").splitlines()[-8:]
            raise LlmcfError("\n".join([f"{' '.join(command)} failed:", *words]))
    return Spent(seconds, usage.ru_maxrss // 1024, usage.ru_utime + usage.ru_stime)


def write(name: str, account: dict[str, Any], page: str) -> None:
    """Write RESULTS/`name`.{json,md} with the machine and its load."""
    here = {**machine.describe(), "load": round(os.getloadavg()[0], 1)}
    storage.write_json(RESULTS / f"{name}.json", {**account, "machine": here})
    with storage.atomic_path(RESULTS / f"{name}.md") as beside:
        beside.write_text(page, encoding="utf-8")


def sentence() -> str:
    """The machine in a line, with the load that others put on it."""
    return f"{machine.sentence()}, load average {os.getloadavg()[0]:.1f}"
