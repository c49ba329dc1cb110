"""What a server that goes away looks like to a caller."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextvars import copy_context
from pathlib import Path

import numpy as np
import pytest

from core import deadlines
from core.contracts import TRITON_MODELS
from core.deadlines import OutOfTime
from core.errors import Unavailable
from llmcf.serving.manifest import Stage
from llmcf.serving.triton_client import Client
from llmcf.serving.triton_server import HOST, Server


@pytest.fixture(params=[b"", b"HTTP/1.1 200 OK\r\nContent-Le"], ids=["before the answer", "within it"])
def dying(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server that reads each request and then ends the connection, as a process does that is killed."""
    with socket.create_server((HOST, 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65_536)
                    connection.sendall(request.param)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        port = listening.getsockname()[1]
        yield Server(pid=1, http_port=port, grpc_port=1, metrics_port=1, log=Path("triton.log"))
        listening.shutdown(socket.SHUT_RDWR)
    thread.join()


def test_a_connection_that_ends_is_unavailable(dying: Server) -> None:
    inputs, outputs = TRITON_MODELS["user_vector"]
    stage = Stage(
        framework="none", backbone="sasrec", recipe="strict", seed=1, version=1, inputs=inputs, outputs=outputs, run=""
    )
    arrays = {tensor.name: np.zeros((1, *tensor.shape), dtype=tensor.dtype) for tensor in inputs}
    with Client(dying, {"user_vector": stage}) as client:
        for ask in (lambda: client.infer("user_vector", arrays), client.server_version, client.loaded):
            with pytest.raises(Unavailable, match=r"no Triton answers at 127\.0\.0\.1:\d+ .*; see triton\.log"):
                ask()


GO = threading.Event()


@pytest.fixture
def slow() -> Iterator[Server]:
    """A server whose versions are 1, 2, 3 ...: it thinks about the first answer until it may go on."""
    GO.clear()
    versions = iter(range(1, 100))
    with socket.create_server((HOST, 0)) as listening:

        def answer(connection: socket.socket) -> None:
            with connection:
                while connection.recv(65_536):
                    body = json.dumps({"version": str(version := next(versions))}).encode()
                    if version == 1:
                        GO.wait(10)
                    try:
                        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
                    except OSError:
                        return

        def serve() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        port = listening.getsockname()[1]
        yield Server(pid=1, http_port=port, grpc_port=1, metrics_port=1, log=Path("triton.log"))
        listening.shutdown(socket.SHUT_RDWR)
    thread.join()


@pytest.mark.parametrize(("wanted_s", "error"), [(0.15, OutOfTime), (30.0, Unavailable)])
def test_an_answer_comes_in_the_caller_s_time_and_a_late_one_is_nobody_s(
    slow: Server, wanted_s: float, error: type[Unavailable]
) -> None:
    """Nor is a server to blame that had little time."""

    def ask() -> None:
        deadlines.begin(wanted_s)
        with pytest.raises(Unavailable, match="timed out after") as found:
            client.server_version()
        assert type(found.value) is error

    with Client(slow, {}, timeout_s=0.3) as client:
        start = time.monotonic()
        copy_context().run(ask)
        assert time.monotonic() - start < 5
        GO.set()
        time.sleep(0.05)
        assert client.server_version() == "2", "not the late one"
