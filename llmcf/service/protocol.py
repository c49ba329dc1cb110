"""HTTP as uvicorn reads it; but what it cannot read is answered as a problem, too, with a request's id, and of a head
without end no more is kept than a request may have, nor is one waited for without end. No connection lasts for ever:
those of a worker that died go to the others, and would stay there when another has taken its place."""

import asyncio
import json
import random
from http import HTTPStatus
from typing import TYPE_CHECKING

from llmcf.service import problems
from llmcf.service.middleware import HEAD_S, LARGEST_HEAD, REQUEST_ID, large_head, new_id, slow_head
from llmcf.service.problems import Problem

if TYPE_CHECKING:
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol as Base
else:
    from uvicorn.protocols.http.auto import AutoHTTPProtocol as Base

_LONGEST_S = 30.0  # that a connection answers requests, or up to twice that: so they do not all end at once


class Protocol(Base):
    """Of one connection."""

    transport: asyncio.Transport
    _end: float = 0.0  # the next request from then on is the connection's last
    _head: int | None = None  # bytes since a head began; None where none has, or it is whole
    _timer: asyncio.TimerHandle | None = None  # of a head that is waited for
    _rest: asyncio.TimerHandle | None = None  # of a body whose request was answered before it was here

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._end = self.loop.time() + _LONGEST_S * (1 + random.random())  # noqa: S311 - no secret
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._wait_no_more()
        self._rest_is_here()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        self._head = 0
        self._wait()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._head = None
        self._wait_no_more()
        super().on_headers_complete()
        if self.cycle is not None and self.loop.time() > self._end:
            self.cycle.keep_alive = False

    def on_response_complete(self) -> None:
        """What comes yet of a refused body is thrown away, for a while: one that is cut off may never read why."""
        super().on_response_complete()
        answered = self.cycle.response_complete  # else it is the next one's, which was sent before this answer
        if answered and self.cycle.more_body and not self.transport.is_closing():
            self._rest = self.loop.call_later(HEAD_S, self.transport.close)

    def on_message_complete(self) -> None:
        self._rest_is_here()
        super().on_message_complete()

    def data_received(self, data: bytes) -> None:
        """What came together with the beginning of a head is not counted: it may be another request's body."""
        if self._head is not None:
            self._head += len(data)
        super().data_received(data)
        if self._head is not None and self._head > LARGEST_HEAD:
            self._head = None
            self._refuse(large_head())

    def _wait(self) -> None:
        """For the end of a head, some seconds from its beginning, or that of the connection, on."""
        self._wait_no_more()
        self._timer = self.loop.call_later(HEAD_S, self._over)

    def _wait_no_more(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _rest_is_here(self) -> None:
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None

    def _over(self) -> None:
        """The head is not here. Of one that came before the answer to another, nothing is read until that is there."""
        if self.cycle is not None and not self.cycle.response_complete:
            self._wait()
        elif self._head is None:  # nothing was ever sent: nobody waits for an answer
            self.transport.close()
        else:
            self._refuse(slow_head())

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
