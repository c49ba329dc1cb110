"""`llmcf serve`: a release on a Triton server, and how other verbs find the one that runs.

A running server is written down in `settings.home()`, one note a data set; a note whose process is gone or does not
answer is not believed.
"""

import dataclasses
import json
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from core import settings, storage
from core.errors import LlmcfError, Unavailable
from core.progress import say
from core.result import Result
from llmcf.serving import releases
from llmcf.serving.manifest import Release
from llmcf.serving.triton_client import Canary, Client, canary
from llmcf.serving.triton_server import Server, is_ready, run_triton

_CHECK_EVERY_S = 30.0
_AGAIN_S = 5.0


@dataclass(frozen=True, slots=True)
class Running:
    """A server that `llmcf serve` keeps, and the models that it loaded."""

    server: Server
    models: Path
    release: int


def serve(
    release: Release, *, check: bool = False, http_port: int | None = None, grpc_port: int | None = None
) -> Result:
    """Serve `release` until SIGINT or SIGTERM, or with `check` only start, ask and stop.

    Raises:
        LlmcfError: if a file of it is damaged, a port is busy, a server of the data set is already kept, or the canary
            fails, at the start or later: a supervisor then starts the verb again.
    """
    release.require_whole()
    if not check:
        _refuse_a_second(release.dataset)
    start = time.monotonic()
    with run_triton(release.models, http_port=http_port, grpc_port=grpc_port) as server:
        bird = canary(server, release.models, release.stages)
        ready_s = time.monotonic() - start
        if not check:
            _keep(Running(server, release.models, release.number), release.dataset, bird)
    return Result(
        verb="serve",
        workspace=release.workspace,
        seconds=time.monotonic() - start,
        artifacts={"models": str(release.models), "log": str(server.log)},
        details={
            "release": release.number,
            "canary": "every model answers as ONNX Runtime does",
            "ready_seconds": round(ready_s, 2),
            "http_port": server.http_port,
            "grpc_port": server.grpc_port,
            "metrics_port": server.metrics_port,
        },
    )


@contextmanager
def connect(release: Release) -> Iterator[Server]:
    """A server of `release`: the kept one if it serves that, else one for the length of the block."""
    kept = running(release.dataset)
    if kept and kept.models == release.models and _has_loaded(kept.server, release):
        yield kept.server
        return
    if kept:
        say(
            f"the server at {kept.server.address} serves release {kept.release}, not {release.number}: starting another"
            if kept.release != release.number
            else f"the server at {kept.server.address} has not loaded release {release.number}: starting another"
        )
    release.require_whole()
    with run_triton(release.models) as server:
        canary(server, release.models, release.stages)
        yield server


def _has_loaded(server: Server, release: Release) -> bool:
    """Whether it serves the versions of that release; its note tells only what it was started with."""
    with suppress(LlmcfError), Client(server, release.stages) as client:
        return set(release.versions.items()) <= client.loaded()
    return False


def running(dataset: str) -> Running | None:
    """The server that `llmcf serve` keeps for a data set, if it is alive and ready."""
    kept = _noted(dataset)
    return kept if kept and _is_triton(kept.server.pid) and is_ready(kept.server.http_port) else None


def _noted(dataset: str) -> Running | None:
    try:
        note = storage.read_json(_note(dataset))
        server = Server(**{**note["server"], "log": Path(note["server"]["log"])})
        return Running(server, Path(note["models"]), note["release"])
    except (FileNotFoundError, json.JSONDecodeError, KeyError, TypeError):
        return None


def _keep(kept: Running, dataset: str, bird: Canary) -> None:
    """Note the server down, and ask it the canary's question now and then until a signal comes."""
    _write_down(kept, dataset)
    stop = threading.Event()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        server, told = kept.server, kept.release
        say(f"release {kept.release}: HTTP {server.address}, gRPC port {server.grpc_port}; Ctrl-C stops it")
        while not stop.wait(_CHECK_EVERY_S):
            _ask(bird, server, stop)
            told = _tell_of_another(dataset, told)
    finally:
        _strike_out(kept, dataset)
        for number, handler in before.items():
            signal.signal(number, handler)


def _ask(bird: Canary, server: Server, stop: threading.Event) -> None:
    """Hold the server's answers against the canary's; one that is late or does not come is asked for once more."""
    try:
        bird.check(server)
    except Unavailable as error:
        say(f"the canary had no answer ({error}); it asks again in {_AGAIN_S:.0f} s")
        if not stop.wait(_AGAIN_S):
            bird.check(server)


def _tell_of_another(dataset: str, told: int) -> int:
    """Say, once, that another release is live than the one served."""
    found = releases.pointer(dataset)
    if found is None or found.release == told:
        return told
    say(f"release {found.release} is live now; start `llmcf serve --dataset {dataset}` again to serve it")
    return found.release


def _refuse_a_second(dataset: str) -> None:
    if kept := running(dataset):
        raise LlmcfError(
            f"release {kept.release} is already served at {kept.server.address} by process {kept.server.pid}; "
            "stop that `llmcf serve` first"
        )


def _write_down(kept: Running, dataset: str) -> None:
    """Of two that were started at once, the first here is noted down and the other refused."""
    server = dataclasses.asdict(kept.server) | {"log": str(kept.server.log)}
    with FileLock(_note(dataset).with_name(f".triton-server-{dataset}.lock")):
        _refuse_a_second(dataset)
        storage.write_json(_note(dataset), {"server": server, "release": kept.release, "models": str(kept.models)})


def _strike_out(kept: Running, dataset: str) -> None:
    """Remove the note, unless it is of another server by now: of another machine that shares the home."""
    if _noted(dataset) == kept:
        _note(dataset).unlink(missing_ok=True)


def _note(dataset: str) -> Path:
    return settings.home() / f"triton-server-{dataset}.json"


def _is_triton(pid: int) -> bool:
    """Whether that process is a Triton server and not one that inherited its number."""
    try:
        return b"tritonserver" in Path("/proc", str(pid), "cmdline").read_bytes()
    except OSError:
        return False
