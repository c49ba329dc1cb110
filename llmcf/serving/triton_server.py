"""A Triton server as a context manager: started on loopback, ready or an error with its log, stopped without remains.

The server ends with the thread that started it, even if that is killed: the kernel then signals it (`setpriv
--pdeathsig`). What it reads lies behind links in a folder of its own (llmcf/serving/triton_runtime.py).
"""

import fcntl
import http.client
import itertools
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from core import settings
from core.contracts import TRITON_MODELS
from core.errors import Missing, Unavailable, UsageError
from llmcf.serving import triton_install
from llmcf.serving.triton_runtime import Runtime, runtime

HOST = "127.0.0.1"
_STOP_S = 15.0  # of which Triton gives requests in flight 10
_POLL_S = 0.05
_TRIES = 3
_LOGS = 20  # kept
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where the backend and its stubs exchange tensors
_COMPLAINT = re.compile(r"E\d{4} |error|Failed")
_LAST_PORT = "Started Metrics Service"  # in the log, of the three that are opened
_counter = itertools.count()
# In either mode no client may load models, which are code.
_FIXED = ("--model-control-mode=none",)
_POLLING = ("--model-control-mode=poll", "--repository-poll-secs=1")


@dataclass(frozen=True, slots=True)
class Server:
    """A running server; all ports on loopback."""

    pid: int
    http_port: int
    grpc_port: int
    metrics_port: int
    log: Path

    @property
    def address(self) -> str:
        return f"{HOST}:{self.http_port}"


@contextmanager
def run_triton(
    repository: Path,
    *,
    http_port: int | None = None,
    grpc_port: int | None = None,
    metrics_port: int | None = None,
    ready_within_s: float = 120,
) -> Iterator[Server]:
    """Serve the newest version of each model in `repository` until the block ends; a port not given is a free one.

    Raises:
        Missing: if there is no model or no environment.
        Unavailable: if a requested port is busy, or the server does not get ready (with what its log says).
    """
    installation = triton_install.find()
    _require_models(repository)
    prefix = f"llmcf_{os.getpid()}_{next(_counter)}_"
    try:
        with runtime(repository, installation.backend) as place:
            ports = (http_port, grpc_port, metrics_port)
            server, process = _launch(installation, place, ports, prefix, ready_within_s, _FIXED)
            try:
                yield server
            finally:
                _stop(process)
    finally:
        _remove_shared_memory(prefix)


class Hosting:
    """A server that serves whatever its runtime shows, and can be started anew where it has died."""

    def __init__(
        self,
        installation: triton_install.Installation,
        place: Runtime,
        wanted: tuple[int | None, ...],
        prefix: str,
        within_s: float,
    ) -> None:
        self.place = place
        self._installation, self._prefix = installation, prefix
        self.server, self._process = _launch(installation, place, wanted, prefix, within_s, _POLLING)

    @property
    def ended(self) -> bool:
        """Whether the server's process is gone."""
        return self._process.poll() is not None

    @property
    def up(self) -> bool:
        """Whether it says that it and all its models are ready."""
        return not self.ended and _logged(self.server, _LAST_PORT) and is_ready(self.server.http_port)

    def again(self) -> None:
        """Start it on the ports it had, and wait for nothing but its end; `up` says when it is ready.

        It ends with the thread that does this.

        Raises:
            Unavailable: if another process has taken a port.
        """
        _kill(self._process)
        _remove_shared_memory(self._prefix)
        ports = _ports((self.server.http_port, self.server.grpc_port, self.server.metrics_port))
        self.server, self._process = _start(self._installation, self.place, ports, self._prefix, _POLLING)

    def stop(self) -> None:
        _stop(self._process)


@contextmanager
def host_triton(
    repository: Path,
    versions: Mapping[str, int],
    *,
    http_port: int | None = None,
    grpc_port: int | None = None,
    metrics_port: int | None = None,
    ready_within_s: float = 120,
) -> Iterator[Hosting]:
    """Serve those versions of `repository`, and whatever is shown in the runtime's folder until the block ends.

    Triton looks at that folder every second. It is this user's alone, and who may not write there loads nothing: while
    it polls, Triton's own interface for loading models refuses everybody. Errors as of `run_triton`.
    """
    installation = triton_install.find()
    prefix = f"llmcf_{os.getpid()}_{next(_counter)}_"
    try:
        with runtime(None, installation.backend) as place:
            place.show(repository, versions)
            ports = (http_port, grpc_port, metrics_port)
            hosting = Hosting(installation, place, ports, prefix, ready_within_s)
            try:
                yield hosting
            finally:
                hosting.stop()
    finally:
        _remove_shared_memory(prefix)


def is_ready(http_port: int) -> bool:
    """Whether a server there says that it and all its models are ready."""
    connection = http.client.HTTPConnection(HOST, http_port, timeout=2)
    try:
        connection.request("GET", "/v2/health/ready")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _remove_shared_memory(prefix: str) -> None:
    for region in _SHARED_MEMORY.glob(f"{prefix}*"):
        region.unlink(missing_ok=True)


def _require_models(repository: Path) -> None:
    for name in TRITON_MODELS:
        versions = [path.name for path in (repository / name).glob("*/model.onnx")]
        if not (repository / name / "config.pbtxt").is_file() or not versions:
            raise Missing(f"{repository / name} holds no model", "llmcf export")


def _ports(wanted: tuple[int | None, ...]) -> tuple[int, int, int]:
    """Each wanted port, found free, or one of the kernel's choice."""
    given = [port for port in wanted if port is not None]
    if len(set(given)) < len(given):
        raise UsageError(f"HTTP, gRPC and metrics need a port each, got {', '.join(map(str, given))}")
    with ExitStack() as probes:  # held open together, so that no two are alike
        http_port, grpc_port, metrics_port = (_free_port(probes.enter_context(socket.socket()), p) for p in wanted)
    return http_port, grpc_port, metrics_port


def _free_port(probe: socket.socket, port: int | None) -> int:
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port whose last user has just gone is free
    try:
        probe.bind((HOST, port or 0))
    except OSError as error:
        raise Unavailable(
            f"port {port} on {HOST} cannot be used ({error.strerror}); stop what holds it "
            f"(`ss -ltnp 'sport = :{port}'` shows it) or choose another port"
        ) from error
    return probe.getsockname()[1]


def _launch(
    installation: triton_install.Installation,
    place: Runtime,
    wanted: tuple[int | None, ...],
    prefix: str,
    within_s: float,
    control: tuple[str, ...],
) -> tuple[Server, subprocess.Popen[bytes]]:
    """Start until ready.

    Tries again only where another process took a free port between our look and Triton's, or where Triton crashed: its
    Python backend may abort as it meets a model process (`boost::interprocess::lock_exception`).
    """
    tries = 1
    while True:
        server, process = _start(installation, place, _ports(wanted), prefix, control)
        try:
            if _wait_until_ready(server, process, within_s):
                return server, process
        except BaseException:
            _stop(process)
            raise
        crashed = (process.poll() or 0) < 0
        _stop(process)
        if tries == _TRIES or not (crashed or _logged(server, "already in use")):
            raise Unavailable(f"Triton did not get ready; its log {server.log} says:\n{complaints(server.log)}")
        tries += 1


def _start(
    installation: triton_install.Installation,
    place: Runtime,
    ports: tuple[int, int, int],
    prefix: str,
    control: tuple[str, ...],
) -> tuple[Server, subprocess.Popen[bytes]]:
    log = _new_log()
    names = ("http", "grpc", "metrics")
    command = [
        *("setpriv", "--pdeathsig", "TERM", "--", str(installation.binary)),
        f"--model-repository={place.models}",
        f"--backend-directory={place.backends}",
        f"--backend-config=python,shm-region-prefix-name={prefix}",
        *(f"--{name}-address={HOST}" for name in names),
        *(f"--{name}-port={port}" for name, port in zip(names, ports, strict=True)),
        *control,
        "--disable-auto-complete-config",
        "--allow-gpu-metrics=false",
        "--exit-timeout-secs=10",
    ]
    with log.open("wb") as stream:
        _mark_as_used(stream)
        process = subprocess.Popen(
            command,
            env=installation.environment,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,  # a terminal's Ctrl-C reaches this process only, which then stops the server
        )
    return Server(process.pid, *ports, log), process


def _new_log() -> Path:
    folder = settings.runs() / "triton"
    folder.mkdir(parents=True, exist_ok=True)
    for old in sorted(folder.glob("*.log"))[: -(_LOGS - 1)]:
        if not _is_used(old):
            old.unlink(missing_ok=True)
    return folder / f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.getpid()}-{next(_counter)}.log"


def _mark_as_used(log: BinaryIO) -> None:
    """A lock that the server inherits with its output, so that it holds for as long as the server lives."""
    with suppress(OSError):  # a disk that knows no locks
        fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _is_used(log: Path) -> bool:
    try:
        with log.open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return isinstance(error, BlockingIOError)
    return False


def _wait_until_ready(server: Server, process: subprocess.Popen[bytes], within_s: float) -> bool:
    """False if it ended or did not get ready in time. The log is asked too: a port may be another server's."""
    deadline = time.monotonic() + within_s
    while process.poll() is None and time.monotonic() < deadline:
        if _logged(server, _LAST_PORT) and is_ready(server.http_port):
            return True
        time.sleep(_POLL_S)
    return False


def _logged(server: Server, words: str) -> bool:
    return words in server.log.read_text(encoding="utf-8", errors="replace")


def complaints(log: Path) -> str:
    """The last lines in which the server complains; if there are none, its last lines."""
    lines = [line[:400] for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if _COMPLAINT.match(line) and "CudaDriverHelper" not in line]  # no GPU, no matter
    return "\n".join((errors or lines)[-8:])


def _stop(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM, then after a while SIGKILL, to the server and to stubs that outlive it."""
    try:
        process.terminate()
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        pass
    finally:
        _kill(process)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """The server and its stubs, at once, also where they stand still."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
