"""`llmcf serve`: one Triton, a number of workers behind one port, one writer, and the one who keeps them going.

A worker or a model process that dies is replaced. Where another release is made live, it is loaded beside the one
that serves, tried, handed to every worker, and only then is the one before the last let go: nothing is dropped on the
way. One that cannot be loaded, or by one worker not, leaves what serves as it is, and the pointer goes back.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from threading import Event

from filelock import FileLock, Timeout

from core import settings
from core.errors import LlmcfError, Unavailable, UsageError
from core.progress import say
from core.result import Result
from llmcf.service import keys, state, traffic
from llmcf.service.state import Serving
from llmcf.serving import releases
from llmcf.serving.manifest import Release
from llmcf.serving.triton_host import Host, host

_TICK_S = 0.2
_CANARY_EVERY_S = 5.0
_READY_S = 60.0
_STOP_S = 10.0
_AGAIN_S = 2.0  # between two starts of the intake
LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(slots=True)
class Fleet:
    """The workers of a service: processes that share a listening socket."""

    dataset: str
    place: Path
    listening: socket.socket
    count: int
    metrics: Path
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def fill(self) -> None:
        """Start as many as are missing."""
        for process in [one for one in self.processes if one.poll() is not None]:
            say(f"worker {process.pid} ended with {process.returncode}; another takes its place")
            self.processes.remove(process)
            traffic.forget(process.pid, self.metrics)
        while len(self.processes) < self.count:
            self.processes.append(self._start())

    def _start(self) -> subprocess.Popen[bytes]:
        descriptor = self.listening.fileno()
        told = self.dataset, str(self.place), str(descriptor)
        return _start("worker", *told, metrics=self.metrics, descriptors=[descriptor])

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


def serve(
    release: Release,
    *,
    address: str = "127.0.0.1",
    port: int = 0,
    workers: int = 2,
    check: bool = False,
    http_port: int | None = None,
    grpc_port: int | None = None,
) -> Result:
    """Serve until SIGINT or SIGTERM, or with `check` until every worker is ready.

    Raises:
        UsageError: for an address that is not loopback while there are no keys, or no workers.
        LlmcfError: if a port is busy, or the release does not come up.
    """
    if workers < 1:
        raise UsageError(f"--workers {workers} is not at least 1")
    if address not in LOOPBACK and not keys.read():
        raise UsageError(
            f"--host {address} is open to others, and there are no keys; "
            "make one: `llmcf key add --name operator --role admin`"
        )
    settings.feast_ui()  # a wrong address is found now
    start, stop = time.monotonic(), Event()
    with ExitStack() as stack:
        place = stack.enter_context(_apart() if check else _alone(release.dataset))
        listening = stack.enter_context(_listen(address, port))
        running = stack.enter_context(host(release, http_port=http_port, grpc_port=grpc_port))
        state.write(place, Serving((release.number,), running.server))
        stack.callback(state.serving_file(place).unlink, missing_ok=True)
        metrics = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="llmcf-metrics-")))
        fleet = Fleet(release.dataset, place, listening, workers, metrics)
        intake = Intake(release.dataset, metrics)
        stack.callback(intake.stop)
        stack.callback(fleet.stop)
        stack.enter_context(_signals(stop))
        fleet.fill()
        url = f"http://{address}:{listening.getsockname()[1]}"
        _wait(fleet, release.number, stop)
        ready = round(time.monotonic() - start, 2)
        say(f"release {release.number} of {release.dataset} at {url} ({ready} s); Ctrl-C stops it")
        if not check:
            Keeper(running, fleet, intake, release).keep(stop)
    return Result(
        verb="serve",
        workspace=release.workspace,
        seconds=time.monotonic() - start,
        artifacts={"models": str(release.models), "log": str(running.server.log)},
        details={
            "release": release.number,
            "address": url,
            "workers": workers,
            "ready_seconds": ready,
            "triton": running.server.address,
        },
    )


class Keeper:
    """Looks after a running service."""

    def __init__(self, running: Host, fleet: Fleet, intake: Intake, live: Release) -> None:
        self._host, self._fleet, self._intake = running, fleet, intake
        self._live = live
        self._before: Release | None = None
        self._asked = time.monotonic()
        self._refused: int | None = None
        self._sampler = traffic.Sampler(fleet.place, fleet.metrics)

    def keep(self, stop: Event) -> None:
        """Until told to stop."""
        while not stop.wait(_TICK_S):
            self._fleet.fill()
            self._intake.fill()
            self._follow(stop)
            self._ask()
            self._sampler.look()

    def _follow(self, stop: Event) -> None:
        """Switch to the release that the pointer names, if it is another; what cannot be taken is refused once."""
        found = releases.pointer(self._fleet.dataset)
        if found is None or found.release == self._live.number:
            self._refused = None
            return
        if found.release == self._refused:
            return
        try:
            wanted = releases.require(self._fleet.dataset, found.release)
            self._host.add(wanted)
            self._hand_over(wanted, stop)
        except LlmcfError as error:
            say(f"release {found.release} is not taken: {error}; release {self._live.number} goes on")
            self._refused = found.release
            self._point_back(found.release)

    def _hand_over(self, wanted: Release, stop: Event) -> None:
        """Have every worker answer with a release that is loaded; if one cannot, all go back."""
        self._tell(wanted, self._live)
        try:
            _wait(self._fleet, wanted.number, stop)
        except LlmcfError:
            self._tell(self._live, self._before)
            self._host.remove(wanted.number)
            raise
        self._before, self._live = self._live, wanted
        gone = sorted(set(self._host.releases) - {wanted.number, self._before.number})
        for number in gone:
            self._host.remove(number)
        let_go = f", {', '.join(map(str, gone))} is let go" if gone else ""
        say(f"release {wanted.number} answers; release {self._before.number} stays at hand{let_go}")

    def _tell(self, live: Release, before: Release | None) -> None:
        """Write down for the workers what can be asked."""
        numbers = (live.number,) if before is None else (live.number, before.number)
        state.write(self._fleet.place, Serving(numbers, self._host.server))

    def _point_back(self, refused: int) -> None:
        """Let the pointer name what answers again, if nobody has moved it meanwhile: a restart would serve it."""
        with suppress(LlmcfError), releases.locked():
            found = releases.pointer(self._fleet.dataset)
            if found and found.release == refused and found.before[-1:] == [self._live.number]:
                releases.rollback(self._fleet.dataset)

    def _ask(self) -> None:
        """The canary: a model process that has died is found by nothing else."""
        if time.monotonic() - self._asked < _CANARY_EVERY_S:
            return
        try:
            self._host.check(self._live.number)
        except LlmcfError as error:
            say(f"the canary of release {self._live.number} failed ({error}); its models are loaded anew")
            with suppress(LlmcfError):
                self._host.revive(self._live.number)
        self._asked = time.monotonic()


def _wait(fleet: Fleet, number: int, stop: Event) -> None:
    """Until every worker answers with this release.

    Raises:
        Unavailable: if one does not come up in time.
    """
    end = time.monotonic() + _READY_S
    while not stop.is_set():
        fleet.fill()
        answering = state.workers(fleet.place)
        if all(answering.get(one.pid) == number for one in fleet.processes):
            return
        if time.monotonic() > end:
            raise Unavailable(f"not every worker answers with release {number} after {_READY_S:.0f} s")
        time.sleep(0.02)


@contextmanager
def _apart() -> Iterator[Path]:
    """A folder for a check, which disturbs no service that runs."""
    with tempfile.TemporaryDirectory(prefix="llmcf-check-") as place:
        yield Path(place)


@contextmanager
def _alone(dataset: str) -> Iterator[Path]:
    """The folder of the one service of a data set: its workers follow one file."""
    place = state.folder(dataset)
    place.mkdir(parents=True, exist_ok=True)
    lock = FileLock(place / ".serve.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise LlmcfError(f"another `llmcf serve` of {dataset} runs on this home; stop it first") from None
    try:
        shutil.rmtree(place / "workers", ignore_errors=True)  # of a service that was killed
        yield place
    finally:
        lock.release()


def _listen(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    made = socket.socket(family)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((address, port))
    except OSError as error:
        made.close()
        raise Unavailable(
            f"port {port} on {address} cannot be used ({error.strerror}); choose another --port"
        ) from None
    made.listen(1024)
    return made


@contextmanager
def _signals(stop: Event) -> Iterator[None]:
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
