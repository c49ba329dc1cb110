"""HTTP as uvicorn reads it; but what it cannot read is answered as a problem, too, with a request's id, and of a head
without end no more is kept than a request may have."""

import asyncio
import json
from http import HTTPStatus
from typing import TYPE_CHECKING

from llmcf.service import problems
from llmcf.service.middleware import LARGEST_HEAD, REQUEST_ID, large_head, new_id
from llmcf.service.problems import Problem

if TYPE_CHECKING:
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol as Base
else:
    from uvicorn.protocols.http.auto import AutoHTTPProtocol as Base


class Protocol(Base):
    """Of one connection."""

    transport: asyncio.Transport
    _head: int | None = None  # bytes since a head began; None where none has, or it is whole

    def on_message_begin(self) -> None:
        self._head = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._head = None
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        """What came together with the beginning of a head is not counted: it may be another request's body."""
        if self._head is not None:
            self._head += len(data)
        super().data_received(data)
        if self._head is not None and self._head > LARGEST_HEAD:
            self._head = None
            self._refuse(large_head())

    def send_400_response(self, msg: str) -> None:
        """In place of uvicorn's plain text."""
        del msg
        self._refuse(Problem(400, "no-http", "this is no HTTP request"))

    def _refuse(self, problem: Problem) -> None:
        """The connection ends."""
        identity = new_id()
        body = json.dumps(problem.body(identity)).encode()
        told = {
            "content-type": problems.MEDIA_TYPE,
            "content-length": len(body),
            REQUEST_ID.lower(): identity,
            "connection": "close",
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in told.items())
        status = f"{problem.status} {HTTPStatus(problem.status).phrase}"
        self.transport.write(f"HTTP/1.1 {status}\r\n{lines}\r\n".encode() + body)
        self.transport.close()
