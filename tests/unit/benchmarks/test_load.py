"""What clients do that are refused."""

import http.server
import time
from collections.abc import Iterator
from threading import Thread

import pytest

from benchmarks.load import Plan, drive


class Refuses(http.server.BaseHTTPRequestHandler):
    """Every request, for a second."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(503)
        self.send_header("Retry-After", "1")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is said."""


@pytest.fixture
def port() -> Iterator[int]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refuses)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_patient_client_comes_again_when_it_is_told_to(port: int) -> None:
    def asked(patient: bool) -> int:
        plan = Plan(host="127.0.0.1", port=port, users=["u"], clients=1, seconds=0.35, patient=patient)
        return len(drive(plan).asked)

    assert asked(patient=False) > 1
    start = time.monotonic()
    assert asked(patient=True) == 1
    assert time.monotonic() - start >= 1.0
