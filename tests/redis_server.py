"""A Redis server as a context manager, for tests, benchmarks and local use: loopback, a password, nothing on disk.

With a folder it keeps what it has, so that one that was killed can be run again as it was.

The configuration goes through stdin, so the password is in no command line and no file. The server ends with the
thread that started it, as Triton's does.
"""

import secrets
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from core import environments
from core.errors import LlmcfError

HOST = "127.0.0.1"
_TRIES = 3
_READY_S, _STOP_S, _POLL_S = 10.0, 5.0, 0.02


@dataclass(frozen=True, slots=True)
class RedisServer:
    """A running server; `connection` is what LLMCF_REDIS takes."""

    pid: int
    port: int
    password: str = field(repr=False)

    @property
    def connection(self) -> str:
        return f"{HOST}:{self.port},password={self.password}"


@contextmanager
def run_redis(folder: Path | None = None, like: RedisServer | None = None) -> Iterator[RedisServer]:
    """Run a server on a free port until the block ends.

    Args:
        folder: in which it keeps what it has; it begins with what is there.
        like: one that has ended, whose port and password it takes.

    Raises:
        LlmcfError: if there is no program, or it does not get ready (with the end of its log).
    """
    program = str(environments.redis_server())
    with tempfile.TemporaryFile("w+b") as log:
        server, process = _launch(program, log, folder, like)
        try:
            yield server
        finally:
            _stop(process)


def _launch(
    program: str, log: IO[bytes], folder: Path | None, like: RedisServer | None
) -> tuple[RedisServer, subprocess.Popen[bytes]]:
    """Start until ready; a port that was free when we looked may be taken when Redis binds it."""
    for _ in range(_TRIES):
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "--", program, "-"], stdin=subprocess.PIPE, stdout=log, stderr=log
        )
        port, password = (like.port, like.password) if like else (_free_port(), f"s{secrets.token_hex(16)}")
        server = RedisServer(process.pid, port, password)  # it begins with a letter: Feast reads JSON
        assert process.stdin
        with suppress(BrokenPipeError), process.stdin:
            process.stdin.write(_configuration(server, folder).encode())
        if _ready(server, process):
            return server, process
        _stop(process)
    log.seek(0)
    raise LlmcfError(f"Redis did not get ready; its log ends:\n{log.read().decode(errors='replace')[-800:]}")


def _configuration(server: RedisServer, folder: Path | None) -> str:
    lines = [f"bind {HOST}", f"port {server.port}", f"requirepass {server.password}", 'save ""', "daemonize no"]
    lines += [f'dir "{folder}"', "appendonly yes"] if folder else ["appendonly no"]
    return "\n".join([*lines, ""])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


def _ready(server: RedisServer, process: subprocess.Popen[bytes]) -> bool:
    """Whether it answers our password in time: another server on the port would not."""
    from redis import Redis, RedisError
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    deadline, once = time.monotonic() + _READY_S, Retry(NoBackoff(), 0)  # the client itself would wait for seconds
    with Redis(host=HOST, port=server.port, password=server.password, retry=once) as client:
        while process.poll() is None and time.monotonic() < deadline:
            with suppress(RedisError):
                return bool(client.ping())
            time.sleep(_POLL_S)
    return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
