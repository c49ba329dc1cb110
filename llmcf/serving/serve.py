"""`llmcf serve`: the release on a Triton server, and how other verbs find the one that runs.

A running server is written down in `settings.home()`; a note whose process is gone or does not answer is not believed.
"""

import dataclasses
import json
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from core import settings, storage
from core.errors import LlmcfError
from core.progress import say
from core.result import Result
from core.settings import Workspace
from llmcf.serving import releases
from llmcf.serving.releases import Release
from llmcf.serving.triton_client import Canary, canary
from llmcf.serving.triton_server import Server, is_ready, run_triton

_CHECK_EVERY_S = 30.0


@dataclass(frozen=True, slots=True)
class Running:
    """A server that `llmcf serve` keeps, and the release it loaded at its start."""

    server: Server
    repository: Path
    release: int


def serve(ws: Workspace, *, check: bool = False, http_port: int | None = None, grpc_port: int | None = None) -> Result:
    """Serve this workspace's release until SIGINT or SIGTERM, or with `check` only start, ask and stop.

    Raises:
        LlmcfError: if there is no release of `ws`, a port is busy, a server is already kept, or the canary fails, at
            the start or later: a supervisor then starts the verb again.
    """
    release, repository = releases.require(ws), settings.triton_models()
    if not check and (kept := running()):
        raise LlmcfError(
            f"release {kept.release} is already served at {kept.server.address} by process {kept.server.pid}; "
            "stop that `llmcf serve` first"
        )
    start = time.monotonic()
    with run_triton(repository, http_port=http_port, grpc_port=grpc_port) as server:
        bird = canary(server, repository)
        ready_s = time.monotonic() - start
        if not check:
            _keep(Running(server, repository, release.number), bird)
    return Result(
        verb="serve",
        workspace=ws,
        recipe=release.recipe,
        seed=release.seed,
        seconds=time.monotonic() - start,
        artifacts={"repository": str(repository), "log": str(server.log)},
        details={
            "release": release.number,
            "canary": "both models answer as ONNX Runtime does",
            "ready_seconds": round(ready_s, 2),
            "http_port": server.http_port,
            "grpc_port": server.grpc_port,
            "metrics_port": server.metrics_port,
        },
    )


@contextmanager
def connect(release: Release) -> Iterator[Server]:
    """A server of `release`: the kept one if it serves that, else one for the length of the block."""
    repository = settings.triton_models()
    kept = running()
    if kept and (kept.repository, kept.release) == (repository, release.number):
        yield kept.server
        return
    if kept:
        say(
            f"the server at {kept.server.address} serves release {kept.release}, not {release.number}: starting another"
        )
    with run_triton(repository) as server:
        canary(server, repository)
        yield server


def running() -> Running | None:
    """The server that `llmcf serve` keeps, if it is alive and ready."""
    try:
        note = storage.read_json(_note())
        server = Server(**{**note["server"], "log": Path(note["server"]["log"])})
        kept = Running(server, Path(note["repository"]), note["release"])
    except (FileNotFoundError, json.JSONDecodeError, KeyError, TypeError):
        return None
    return kept if _is_triton(kept.server.pid) and is_ready(kept.server.http_port) else None


def _keep(kept: Running, bird: Canary) -> None:
    """Note the server down, and ask it the canary's question now and then until a signal comes."""
    stop = threading.Event()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        server = kept.server
        written = {"server": {**dataclasses.asdict(server), "log": str(server.log)}, "release": kept.release}
        storage.write_json(_note(), {**written, "repository": str(kept.repository)})
        say(f"release {kept.release}: HTTP {server.address}, gRPC port {server.grpc_port}; Ctrl-C stops it")
        while not stop.wait(_CHECK_EVERY_S):
            bird.check(server)
    finally:
        _note().unlink(missing_ok=True)
        for number, handler in before.items():
            signal.signal(number, handler)


def _note() -> Path:
    return settings.home() / "triton-server.json"


def _is_triton(pid: int) -> bool:
    """Whether that process is a Triton server and not one that inherited its number."""
    try:
        return b"tritonserver" in Path("/proc", str(pid), "cmdline").read_bytes()
    except OSError:
        return False
