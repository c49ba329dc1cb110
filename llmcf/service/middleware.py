"""What every request passes, before any work: its id, the size of its head and body, and its time.

Plain ASGI, as it costs less than Starlette's wrapper. Counters are Prometheus'; with several workers they share a
folder (PROMETHEUS_MULTIPROC_DIR).
"""

import asyncio
import re
import secrets
import time
from collections.abc import Callable, MutableMapping
from typing import Any
from urllib.parse import unquote_to_bytes

from prometheus_client import Counter, Histogram
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llmcf.service import problems
from llmcf.service.admission import overloaded
from llmcf.service.messages import LONGEST_MS
from llmcf.service.problems import Problem

LARGEST = 1 << 20  # bytes of a body
LARGEST_HEAD = 1 << 16  # bytes of an address and headers
HEAD_S = 5.0  # from its beginning, for a request's address and headers to be here
_BODY_S = 5.0  # from a request's beginning, or until its deadline where that is later, for its body to be here
MOST = 512  # requests of one worker that have begun, also those whose bodies are still on their way
LIVE = "/health/live"  # is answered however many there are
_QUEUED = frozenset({("POST", "/recommendations"), ("POST", "/scores")})  # what takes one place in the line
REQUEST_ID = "X-Request-Id"
TIMEOUT = "X-Timeout-Ms"
DEADLINE_MS = 1000  # where the caller names none
_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")

ANSWERS = Counter("llmcf_service_answers", "Answers by route and status.", ["route", "status"])
SECONDS = Histogram(
    "llmcf_service_seconds",
    "Seconds from a request's first byte to its answer's last.",
    ["route"],
    buckets=(0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5),
)


class Front:
    """Gives each request an id and a deadline, refuses too many and too large ones, counts answers.

    Args:
        most: requests that may be here at once.
        full: whether who asks for work now is refused, told how many such requests are whole and have no answer. It
            is asked before anything is read of a request, and again when it is whole: then it counts, and not before,
            so that no slow body keeps a place from others.
    """

    def __init__(self, app: ASGIApp, *, most: int = MOST, full: Callable[[int], bool] = lambda _: False) -> None:
        self._app, self._most, self._full = app, most, full
        self._here = self._working = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, status, route = time.perf_counter(), 500, "none"
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        request = headers.get(b"x-request-id", "")
        request = request if _ID.fullmatch(request) else new_id()
        scope.setdefault("state", {})["request_id"] = request

        works = (scope["method"], scope["path"]) in _QUEUED
        limited = _Limited(receive, self._begin if works else None)

        async def answer(message: Message) -> None:
            nonlocal status
            if limited.refused:  # FastAPI answers 400 to a body that cannot be read; it is not sent
                return
            if message["type"] == "http.response.start":
                status = message["status"]
                self._end(limited)  # before it is sent: who reads no answers keeps no place
                message["headers"] = [*message["headers"], (b"x-request-id", request.encode())]
            await send(message)

        self._here += 1
        try:
            if self._here > self._most and scope["path"] != LIVE:
                raise _too_many()
            seconds = _timeout(headers) / 1e3
            if works:
                route = scope["path"]
                self._refuse_if_full()
            scope["state"]["deadline"] = time.monotonic() + seconds
            _check_head(scope)
            _check_query(scope["query_string"])
            limited.expect(headers, max(seconds, _BODY_S))
            await self._app(scope, limited, answer)
            if limited.refused:
                raise limited.refused
        except Problem as problem:
            limited.refused = None
            await respond(problem, request)(scope, receive, answer)
        finally:
            self._here -= 1
            self._end(limited)
            route = getattr(scope.get("route"), "path_format", route)
            ANSWERS.labels(route, str(status)).inc()
            SECONDS.labels(route).observe(time.perf_counter() - start)

    def _begin(self) -> None:
        """A request for work is whole; Problem 503 if it is one too many."""
        self._refuse_if_full()
        self._working += 1

    def _end(self, limited: "_Limited") -> None:
        """The work for a request is done, if it was begun; once."""
        self._working -= limited.begun
        limited.begun = False

    def _refuse_if_full(self) -> None:
        if self._full(self._working):
            raise overloaded()


def new_id() -> str:
    """For a request that brought none."""
    return secrets.token_hex(12)


class _Limited:
    """Receives a body up to LARGEST, in some seconds; `refused` says that it was larger, took longer, or was not
    wanted by `begin`, which is called when it is whole; `begun` says that it was, and the work goes on."""

    def __init__(self, receive: Receive, begin: Callable[[], None] | None) -> None:
        self._receive, self._begin, self._read, self._whole = receive, begin, 0, False
        self._end = 0.0
        self.begun = False
        self.refused: Problem | None = None

    def expect(self, headers: MutableMapping[bytes, str], seconds: float) -> None:
        """The body has to be here within `seconds`; Problem 413 for one that is told to be larger."""
        self._end = time.monotonic() + seconds
        declared = headers.get(b"content-length", "0")
        if declared.isdigit() and int(declared) > LARGEST:
            raise _too_large()

    async def __call__(self) -> Message:
        if self._whole:  # what comes yet is that the caller has left
            return await self._receive()
        try:
            message = await asyncio.wait_for(self._receive(), max(0.0, self._end - time.monotonic()))
        except TimeoutError:
            self.refused = _too_slow()
            raise self.refused from None
        self._whole = not message.get("more_body", False)
        self._read += len(message.get("body", b""))
        if self._read > LARGEST:
            self.refused = _too_large()
            raise self.refused
        if self._begin and self._whole and message["type"] == "http.request":
            try:
                self._begin()
            except Problem as problem:
                self.refused = problem
                raise
            self.begun = True
        return message


def respond(problem: Problem, request: str) -> JSONResponse:
    return JSONResponse(
        problem.body(request), problem.status, headers=dict(problem.headers), media_type=problems.MEDIA_TYPE
    )


def seconds_left(state: Any) -> float:
    """Until the request's deadline.

    Raises:
        Problem: 504 if it is over.
    """
    left = state.deadline - time.monotonic()
    if left <= 0:
        raise Problem(504, "deadline", "the request's time is over")
    return left


def _timeout(headers: MutableMapping[bytes, str]) -> float:
    named = headers.get(b"x-timeout-ms")
    if named is None:
        return DEADLINE_MS
    if not (named.isascii() and named.isdigit() and 1 <= int(named[:6]) <= LONGEST_MS and len(named) <= 5):
        raise Problem(400, "wrong-request", f"{TIMEOUT} is not a whole number of milliseconds from 1 to {LONGEST_MS}")
    return float(named)


def _check_head(scope: Scope) -> None:
    """Raises Problem 431 for a head that is larger than any needs to be."""
    size = len(scope.get("raw_path") or b"") + len(scope["query_string"])
    if size + sum(len(name) + len(value) for name, value in scope["headers"]) > LARGEST_HEAD:
        raise large_head()


def _check_query(query: bytes) -> None:
    """Raises Problem 400 for text that is none: whoever reads it would read something else."""
    try:
        unquote_to_bytes(query).decode()
    except UnicodeDecodeError:
        raise Problem(400, "wrong-request", "the query of the address is not UTF-8") from None


def _too_many() -> Problem:
    """The connection ends as well: it is one of too many."""
    what = "more requests than the service can read"
    return Problem(503, "overloaded", what, headers={"Retry-After": "1", "Connection": "close"})


def large_head() -> Problem:
    what = f"address and headers are larger than {LARGEST_HEAD:,} bytes"
    return Problem(431, "large-head", what, headers={"Connection": "close"})


def slow_head() -> Problem:
    return Problem(408, "slow-head", f"address and headers were not here after {HEAD_S:g} s")


def _too_slow() -> Problem:
    what = f"the body was not here after {_BODY_S:g} s, or at the request's deadline where that is later"
    return Problem(408, "slow-body", what, headers={"Connection": "close"})


def _too_large() -> Problem:
    return Problem(413, "too-large", f"the body is larger than {LARGEST:,} bytes")
