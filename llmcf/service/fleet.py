"""The processes of a service that answer and that write: started, replaced, ended."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from threading import Event

from core.errors import Unavailable
from core.progress import say
from llmcf.service import state, traffic

_READY_S = 60.0
_STOP_S = 10.0
_AGAIN_S = 2.0  # between two starts of the intake, and of a worker where one ended soon
_LONGEST_S = 30.0  # between two starts of a worker
_STEADY_S = 20.0  # a worker that ran so long ended by chance: another takes its place at once


@dataclass(slots=True)
class Pause:
    """Before the next start of a process: none after one that ran for a while, a growing one where they end soon."""

    seconds: float = 0.0
    until: float = -inf

    def ended(self, ran: float) -> None:
        """A process has ended that ran so many seconds."""
        if ran >= _STEADY_S:
            self.seconds = 0.0
        elif self.over:  # several that end together end for one reason
            self.seconds = min(max(2 * self.seconds, _AGAIN_S), _LONGEST_S)
        self.until = max(self.until, time.monotonic() + self.seconds)

    @property
    def over(self) -> bool:
        return time.monotonic() >= self.until


@dataclass(slots=True)
class Fleet:
    """The workers of a service: processes that share what it listens on (its port, and that of who looks after it)."""

    dataset: str
    place: Path
    listening: Sequence[socket.socket]
    count: int
    metrics: Path
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    pause: Pause = field(default_factory=Pause)
    started: dict[int, float] = field(default_factory=dict)

    def fill(self) -> None:
        """Start as many as are missing, after a pause where some ended soon after their start."""
        for process in [one for one in self.processes if one.poll() is not None]:
            self.processes.remove(process)
            self.pause.ended(time.monotonic() - self.started.pop(process.pid))
            after = f" in {self.pause.seconds:.0f} s" if self.pause.seconds else ""
            say(f"worker {process.pid} ended with {process.returncode}; another takes its place{after}")
            traffic.forget(process.pid, self.metrics)
        while len(self.processes) < self.count and self.pause.over:
            self.processes.append(made := self._start())
            self.started[made.pid] = time.monotonic()

    def _start(self) -> subprocess.Popen[bytes]:
        descriptors = [one.fileno() for one in self.listening]
        told = self.dataset, str(self.place), *map(str, descriptors)
        return _start("worker", *told, metrics=self.metrics, descriptors=descriptors)

    def stop(self) -> None:
        _end(self.processes)


@dataclass(slots=True)
class Intake:
    """The process that applies what the workers accept; there is one."""

    dataset: str
    metrics: Path
    process: subprocess.Popen[bytes] | None = None
    started: float = -inf

    def fill(self) -> None:
        """Start it if it is not there; one that ends at once is not started anew at once."""
        if self.process is not None and self.process.poll() is not None:
            say(f"the intake {self.process.pid} ended with {self.process.returncode}; another takes its place")
            self.process = None
        if self.process is None and time.monotonic() - self.started > _AGAIN_S:
            self.process, self.started = _start("intake", self.dataset, metrics=self.metrics), time.monotonic()

    def stop(self) -> None:
        _end([self.process] if self.process else [])


def _start(module: str, *arguments: str, metrics: Path, descriptors: Sequence[int] = ()) -> subprocess.Popen[bytes]:
    """A process of this service that ends with this one."""
    command = ["setpriv", "--pdeathsig", "TERM", "--", sys.executable, "-m", f"llmcf.service.{module}"]
    return subprocess.Popen(
        [*command, *arguments],
        pass_fds=descriptors,
        start_new_session=True,  # a terminal's Ctrl-C reaches the supervisor only, which then stops the others
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(metrics)},
    )


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.terminate()
    end = time.monotonic() + _STOP_S
    for process in processes:
        try:
            process.wait(max(0.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def await_workers(fleet: Fleet, number: int, stop: Event) -> None:
    """Until every worker answers with this release.

    Raises:
        Unavailable: if one does not come up in time.
    """
    end = time.monotonic() + _READY_S
    while not stop.is_set():
        fleet.fill()
        answering = state.workers(fleet.place)
        there = [one for one in fleet.processes if answering.get(one.pid) == number]
        if len(there) == fleet.count:
            return
        if time.monotonic() > end:
            raise Unavailable(f"not every worker answers with release {number} after {_READY_S:.0f} s")
        time.sleep(0.02)
