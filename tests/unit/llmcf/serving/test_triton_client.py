"""What a server that goes away looks like to a caller."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from core.contracts import TRITON_MODELS
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
