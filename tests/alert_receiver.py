"""Who takes alerts: a receiver on loopback that keeps what it is sent."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

SECRET = "opensesame"  # in the address, as webhooks have it


@dataclass
class Posted:
    """What a receiver was sent, and the codes that it answers with in turn before it takes anything."""

    address: str = ""
    messages: list[dict] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)


@contextmanager
def receiving() -> Iterator[Posted]:
    """A receiver until the block ends; `address` is what LLMCF_ALERT_WEBHOOK names."""
    found = Posted()

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            found.messages.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            found.keys.append(self.headers["idempotency-key"])
            code = found.answers.pop(0) if found.answers else 204
            if code:
                self.send_response(code)
                if code in range(300, 400):
                    self.send_header("location", "/elsewhere")
                self.end_headers()

        def do_GET(self) -> None:
            """Where a redirection led: all is well there."""
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Receiver) as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        found.address = f"http://127.0.0.1:{server.server_port}/{SECRET}"
        yield found
        server.shutdown()
