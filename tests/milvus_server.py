"""A Milvus server as a context manager, for tests and benchmarks: free ports, a password, its data in a scratch folder.

The wheel carries Milvus 2.3.5, the newest standalone server that a package registry has; it listens on all interfaces
while it runs, so it is for tests. Its etcd has a fixed port, so one runs at a time on a machine; others wait.
"""

import os
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock

from core import environments
from core.errors import LlmcfError

TOKEN = "root:Milvus"  # what a fresh server knows
_TURN_S, _READY_S, _STOP_S, _POLL_S = 600.0, 90.0, 2.0, 0.2
_PREPARE = """
import sys, socket, milvus
config = milvus.MilvusServerConfig(data_dir=sys.argv[1])
config.set("authorization_enabled", True)
config.resolve()
milvus._initialize_data_files(sys.argv[2])
with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    print(config.get("proxy_port"), probe.getsockname()[1])
"""


@dataclass(frozen=True, slots=True)
class MilvusServer:
    """A running server; `uri` is what LLMCF_MILVUS_URI takes, `TOKEN` what LLMCF_MILVUS_TOKEN does."""

    pid: int
    port: int

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def run_milvus() -> Iterator[MilvusServer]:
    """Run a server until the block ends.

    Raises:
        LlmcfError: if the environment is not built, or it does not get ready (with the end of what it says).
    """
    python = environments.python("milvus")
    lock = FileLock(Path(tempfile.gettempdir()) / "llmcf-milvus-server.lock", timeout=_TURN_S)
    with lock, tempfile.TemporaryDirectory(prefix="milvus-") as scratch:
        folder, programs = Path(scratch), python.parents[1] / "server"
        told = subprocess.run([python, "-c", _PREPARE, folder, programs], capture_output=True, text=True, check=True)
        port, health = map(int, told.stdout.split())
        log = folder / "log"
        with log.open("wb") as out:
            process = _launch(programs / "bin", folder, health, out)
        try:
            _wait(process, health, log)
            yield MilvusServer(process.pid, port)
        finally:
            _stop(process)
            shutil.rmtree(folder, ignore_errors=True)  # it may still write its last lines


def _launch(programs: Path, folder: Path, health: int, out: BinaryIO) -> subprocess.Popen[bytes]:
    environment = {
        **os.environ,
        "DEPLOY_MODE": "STANDALONE",
        "METRICS_PORT": str(health),
        "LD_LIBRARY_PATH": str(programs),
    }
    command = ["setpriv", "--pdeathsig", "KILL", "--", str(programs / "milvus"), "run", "standalone"]
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=out, stderr=out)


def _wait(process: subprocess.Popen[bytes], health: int, log: Path) -> None:
    deadline = time.monotonic() + _READY_S
    while process.poll() is None and time.monotonic() < deadline:
        with (
            suppress(urllib.error.URLError, ConnectionError, TimeoutError),
            urllib.request.urlopen(f"http://127.0.0.1:{health}/healthz", timeout=_POLL_S * 5) as answer,
        ):
            if b"OK" in answer.read():
                return
        time.sleep(_POLL_S)
    end = log.read_text(encoding="utf-8", errors="replace")[-800:]
    raise LlmcfError(f"the Milvus server did not get ready; what it says ends:\n{end}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
