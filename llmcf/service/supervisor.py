"""`llmcf serve`: one Triton, a number of workers behind one port, one writer, and the one who keeps them going."""

import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event

from filelock import FileLock, Timeout

from core import settings
from core.errors import LlmcfError, Unavailable, UsageError
from core.progress import say
from core.result import Result
from llmcf.service import house, keys, state
from llmcf.service.fleet import Fleet, Intake, await_workers
from llmcf.service.keeper import Keeper
from llmcf.service.state import Serving
from llmcf.service.trials import Trials
from llmcf.serving import tracing
from llmcf.serving.manifest import Release
from llmcf.serving.triton_host import host

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def serve(
    release: Release,
    *,
    address: str = "127.0.0.1",
    port: int = 0,
    admin_port: int | None = None,
    workers: int = 2,
    check: bool = False,
    http_port: int | None = None,
    grpc_port: int | None = None,
) -> Result:
    """Serve until SIGINT or SIGTERM, or with `check` until every worker is ready.

    Args:
        admin_port: of loopback, where alone releases are chosen and counters read; None for no port of its own.

    Raises:
        UsageError: for an address that is not loopback while there are no keys, no workers, or faulty rules.
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
    tracing.check(settings.otlp_endpoint())
    settings.requests_per_second()
    settings.requests_at_once()
    taken = house.load(release.dataset)
    start, stop = time.monotonic(), Event()
    with ExitStack() as stack:
        place = stack.enter_context(_apart() if check else _alone(release.dataset))
        house.keep(taken, place)
        listening = [stack.enter_context(_listen(address, port))]
        if admin_port is not None:
            listening.append(stack.enter_context(_listen(LOOPBACK[0], admin_port, "--admin-port")))
        metrics = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="llmcf-metrics-")))
        fleet = Fleet(release.dataset, place, listening, workers, metrics)
        intake = Intake(release.dataset, metrics)
        stack.callback(fleet.stop)
        fleet.fill()  # they import what they need while Triton starts
        running = stack.enter_context(host(release, http_port=http_port, grpc_port=grpc_port))
        trials = Trials(release.dataset, place, running)
        trials.follow()
        state.write(place, Serving((release.number,), running.server, trials.on))
        stack.callback(state.serving_file(place).unlink, missing_ok=True)
        stack.callback(intake.stop)
        stack.callback(fleet.stop)  # before Triton goes
        stack.enter_context(_signals(stop))
        url = f"http://{f'[{address}]' if ':' in address else address}:{listening[0].getsockname()[1]}"
        admin = f"http://{LOOPBACK[0]}:{listening[1].getsockname()[1]}" if admin_port is not None else ""
        await_workers(fleet, release.number, stop)
        ready = round(time.monotonic() - start, 2)
        say(f"release {release.number} of {release.dataset} at {url} ({ready} s); Ctrl-C stops it")
        if admin:
            say(f"it is looked after at {admin} alone")
        if not check:
            Keeper(running, fleet, intake, release, trials).keep(stop)
    return Result(
        verb="serve",
        workspace=release.workspace,
        seconds=time.monotonic() - start,
        artifacts={"models": str(release.models), "log": str(running.server.log)},
        details={
            "release": release.number,
            "address": url,
            **({"admin": admin} if admin else {}),
            "workers": workers,
            "ready_seconds": ready,
            "triton": running.server.address,
        },
    )


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
        state.serving_file(place).unlink(missing_ok=True)
        yield place
    finally:
        lock.release()


def _listen(address: str, port: int, option: str = "--port") -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    made = socket.socket(family)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((address, port))
    except OSError as error:
        made.close()
        raise Unavailable(
            f"port {port} on {address} cannot be used ({error.strerror}); choose another {option}"
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
