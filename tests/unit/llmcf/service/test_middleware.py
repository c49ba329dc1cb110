"""What every request passes, over an application that reads its body as FastAPI does."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from threading import Thread
from typing import Any, cast

import httpx
import pytest
import uvicorn
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from llmcf.service import middleware, protocol
from llmcf.service.middleware import LARGEST, LARGEST_HEAD, LIVE, Front
from llmcf.service.protocol import Protocol


@pytest.fixture(scope="module")
def http() -> Iterator[TestClient]:
    app = FastAPI()
    app.add_middleware(Front)

    @app.post("/length")
    def length(body: list[int]) -> int:
        return len(body)

    @app.post("/raw")
    async def raw(request: Request) -> int:
        return len(await request.body())

    with TestClient(app, base_url="http://localhost") as client:
        yield client


@pytest.mark.parametrize("path", ["/length", "/raw"])
@pytest.mark.parametrize("told", [True, False], ids=["length told", "in pieces"])
def test_a_body_that_is_too_large_is_413(http: TestClient, path: str, told: bool) -> None:
    body = b" " * (LARGEST + 1)
    answer = http.post(path, content=body if told else iter([body[:1000], body[1000:]]), headers={"x-request-id": "r"})
    assert answer.status_code == 413
    assert answer.json()["type"] == "urn:llmcf:problem:too-large"
    assert answer.headers["x-request-id"] == "r"


def test_one_of_the_largest_size_is_read(http: TestClient) -> None:
    assert http.post("/raw", content=iter([b" " * LARGEST])).json() == LARGEST


@pytest.mark.parametrize("query", ["%ff%fe", "%ed%a0%80", "a=%c3%28", "a=b&%80"])
def test_a_query_that_is_no_text_is_refused(http: TestClient, query: str) -> None:
    answer = http.post(f"/raw?{query}", content=b"x")
    assert (answer.status_code, answer.json()["type"]) == (400, "urn:llmcf:problem:wrong-request")
    assert http.post("/raw?a=%c3%bc+%25&b=%00", content=b"x").json() == 1


def test_a_body_that_does_not_come_in_time_is_408(monkeypatch: pytest.MonkeyPatch) -> None:
    """And frees the place it had."""
    monkeypatch.setattr(middleware, "_BODY_S", 0.2)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            while (await receive()).get("more_body"):
                pass
            status = 200
        except Exception:  # as FastAPI does
            status = 400
        await PlainTextResponse("done", status)(scope, receive, send)

    async def drip() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b" "
            await asyncio.sleep(0.05)

    async def asked(timeout_ms: int, body: Any) -> tuple[float, int, list[dict[str, Any]]]:
        body, told, start = aiter(body), [], time.monotonic()

        async def receive() -> Any:
            return {"type": "http.request", "body": await anext(body, b""), "more_body": True}

        async def send(message: Any) -> None:
            told.append(message)

        headers = [(b"x-timeout-ms", str(timeout_ms).encode())]
        scope = {"type": "http", "path": "/", "query_string": b"", "headers": headers, "method": "POST"}
        front = Front(app)
        await front(scope, receive, send)
        return time.monotonic() - start, front._here, told

    for timeout_ms, least in ((50, 0.2), (500, 0.5)):
        took, here, (begun, body) = asyncio.run(asked(timeout_ms, drip()))
        assert least <= took < least + 0.3
        assert (begun["status"], here) == (408, 0)
        assert json.loads(body["body"])["type"] == "urn:llmcf:problem:slow-body"
        assert (b"connection", b"close") in begun["headers"]


def test_a_head_that_is_too_large_is_431(http: TestClient) -> None:
    half = "x" * (LARGEST_HEAD // 2)
    for path, headers in (("/raw", {"x-large": 2 * half}), (f"/raw?{half}", {"x-large": half})):
        answer = http.post(path, content=b"x", headers=headers)
        assert (answer.status_code, answer.json()["type"]) == (431, "urn:llmcf:problem:large-head")
    assert http.post("/raw", content=b"x", headers={"x-large": half}).json() == 1


@contextmanager
def listening_worker(app: ASGIApp) -> Iterator[tuple[str, int]]:
    """A worker as it runs, and its address."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        server = uvicorn.Server(uvicorn.Config(app, http=Protocol, log_level="error", lifespan="off"))
        thread = Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield listening.getsockname()
        server.should_exit = True
        thread.join(10)


def all_of(sent: socket.socket) -> bytes:
    """What comes until the other side ends the connection."""
    return b"".join(iter(lambda: sent.recv(4096), b""))


def test_a_head_that_is_not_here_in_time_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_S", 0.3)

    async def slowly(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(0.8)
        await PlainTextResponse("done")(scope, receive, send)

    with listening_worker(Front(slowly)) as address:
        start = time.monotonic()  # a busy machine may stand still right after the connection
        with socket.create_connection(address, timeout=10) as sent:
            for sign in b"GET / H":
                sent.sendall(bytes([sign]))
                time.sleep(0.03)
            answer = all_of(sent)
            assert 0.3 <= time.monotonic() - start < 4.5, "not after the 5 s that it is otherwise"
            assert answer.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
            assert json.loads(answer.partition(b"\r\n\r\n")[2])["type"] == "urn:llmcf:problem:slow-head"
        with socket.create_connection(address, timeout=10) as sent:
            assert all_of(sent) == b"", "it never asked for anything"
        with socket.create_connection(address, timeout=10) as sent:
            sent.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n" + b"GET / HT")
            done, told, _ = all_of(sent).partition(b"HTTP/1.1 408")
            assert done.startswith(b"HTTP/1.1 200"), "whose answer takes long is answered before"
            assert told, "and the half request after it is not waited for"


def test_a_connection_ends_with_the_first_answer_after_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its client is told, and comes again, by chance to another worker."""
    monkeypatch.setattr(protocol, "_LONGEST_S", 0.1)
    asked = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"
    with (
        listening_worker(Front(PlainTextResponse("done"))) as address,
        socket.create_connection(address, timeout=10) as sent,
    ):
        sent.sendall(asked)
        assert b"connection: close" not in sent.recv(4096)
        time.sleep(0.3)
        sent.sendall(asked)
        told = all_of(sent)
        assert told.startswith(b"HTTP/1.1 200"), "nothing is lost"
        assert b"connection: close" in told


def test_a_head_without_end_is_refused_and_not_kept() -> None:
    """By a worker as it runs, over a socket."""
    with listening_worker(Front(PlainTextResponse("done"))) as address:
        with socket.create_connection(address, timeout=10) as sent:
            sent.sendall(b"GET / HTTP/1.1\r\nhost: a\r\nx-long: ")
            for _ in range(LARGEST_HEAD // 4096 + 2):
                time.sleep(0.005)
                with suppress(OSError):  # the connection has ended
                    sent.sendall(b"x" * 4096)
            assert sent.recv(12) == b"HTTP/1.1 431"
        large = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 200000\r\n\r\n" + b"x" * 200_000
        with socket.create_connection(address, timeout=10) as sent:
            for _ in range(2):
                sent.sendall(large)
                assert sent.recv(4096).startswith(b"HTTP/1.1 200"), "of a body any size may come at once"


def test_more_requests_than_a_worker_reads_are_a_problem_like_any_other() -> None:
    """Those that are there are answered, and so is who asks whether the worker lives."""
    until = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] != LIVE:
            await until.wait()
        await PlainTextResponse("done")(scope, receive, send)

    async def scenario() -> list[httpx.Response]:
        transport = httpx.ASGITransport(Front(app, most=2))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            inside = [asyncio.create_task(client.get("/")) for _ in range(2)]
            await asyncio.sleep(0.01)
            over = [await client.get("/", headers={"x-request-id": "r-9"}), await client.get(LIVE)]
            until.set()
            return [*over, *await asyncio.gather(*inside), await client.get("/")]

    refused, *answered = asyncio.run(scenario())
    assert (refused.status_code, refused.headers["content-type"]) == (503, "application/problem+json")
    assert (refused.headers["retry-after"], refused.headers["connection"]) == ("1", "close")
    assert (refused.json()["type"], refused.headers["x-request-id"]) == ("urn:llmcf:problem:overloaded", "r-9")
    assert [one.status_code for one in answered] == [200] * 4


@pytest.mark.parametrize(
    ("method", "path", "refused"),
    [("POST", "/recommendations", True), ("POST", "/scores", True), ("GET", "/recommendations", False)]
    + [("POST", path, False) for path in ("/events", "/recommendations/batch", "/releases/3/promotion")],
)
def test_where_the_line_is_full_work_is_refused_before_anything_is_read(method: str, path: str, refused: bool) -> None:
    line = {"full": False}
    read: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        read.append(scope["path"])
        await PlainTextResponse("done")(scope, receive, send)

    async def scenario() -> list[httpx.Response]:
        transport = httpx.ASGITransport(Front(app, full=lambda _: line["full"]))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            first = await client.request(method, path, content=b"no JSON")
            line["full"] = True
            return [first, await client.request(method, path, content=b"no JSON")]

    before = _counted(path)
    free, busy = asyncio.run(scenario())
    assert free.status_code == 200
    assert busy.status_code == (503 if refused else 200)
    assert read == [path] * (1 if refused else 2)
    assert _counted(path) - before == (1 if refused else 0)
    if refused:
        assert (busy.headers["retry-after"], busy.json()["type"]) == ("1", "urn:llmcf:problem:overloaded")
        assert "connection" not in busy.headers, "it comes again"


def test_a_request_counts_from_when_it_is_whole_until_it_is_answered() -> None:
    """Else all that are being read would get the one place that is free, and a slow body would keep it from others."""
    parsed: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        message = await receive()
        while message.get("more_body"):
            message = await receive()
        parsed.append(len(message["body"]))
        await asyncio.sleep(0.05)
        await PlainTextResponse("done")(scope, receive, send)

    async def slow(more: asyncio.Event) -> AsyncIterator[bytes]:
        yield b"{"
        await more.wait()
        yield b"}"

    async def scenario() -> tuple[list[int], int, int]:
        transport = httpx.ASGITransport(Front(app, full=lambda working: working >= 2))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            more = asyncio.Event()
            late = [asyncio.create_task(client.post("/scores", content=slow(more))) for _ in range(3)]
            await asyncio.sleep(0.01)
            quick = await asyncio.gather(*(client.post("/scores", content=b"{}") for _ in range(6)))
            more.set()
            ended = await asyncio.gather(*late)
            again = await client.post("/scores", content=b"{}")
            return [one.status_code for one in quick], sum(one.status_code == 200 for one in ended), again.status_code

    quick, late, again = asyncio.run(scenario())
    assert sorted(quick) == [200] * 2 + [503] * 4
    assert (late, again) == (2, 200)
    assert len(parsed) == 5, "what is refused is not read by anybody"


async def _asked(front: Front, send: Send) -> None:
    scope = {"type": "http", "method": "POST", "path": "/scores", "raw_path": b"/scores", "query_string": b""}

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"{}", "more_body": False}

    await front({**scope, "headers": []}, receive, send)


@pytest.mark.parametrize("end", ["answered", "failed", "left", "unread"])
def test_no_request_keeps_a_place_once_it_is_answered_or_over(end: str) -> None:
    """Also one whose answer is never read: many of those would shut a worker for all others."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        assert front._working == 1
        if end == "failed":
            raise ZeroDivisionError
        if end == "left":
            raise asyncio.CancelledError
        await PlainTextResponse("done")(scope, receive, send)

    async def sent(_: Any) -> None:
        if end == "unread":
            await asyncio.Event().wait()

    async def scenario() -> int:
        asked = asyncio.create_task(_asked(front, sent))
        await asyncio.wait([asked], timeout=0.05)
        assert asked.done() == (end != "unread")
        left = front._working
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        return left + abs(front._working)

    front = Front(app)
    assert asyncio.run(scenario()) == 0


def _counted(route: str) -> float:
    return middleware.ANSWERS.labels(route, "503")._value.get()


def test_what_is_no_http_is_told_so_in_a_problem() -> None:
    class Written(asyncio.Transport):
        told, closed = b"", False

        def write(self, data: Any) -> None:
            self.told += data

        def close(self) -> None:
            self.closed = True

    made = cast(Any, Protocol.__new__(Protocol))
    made.transport = written = Written()
    made.send_400_response("Invalid HTTP request received.")
    head, _, body = written.told.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/problem+json\r\n")
    told = json.loads(body)
    assert (told["status"], told["type"]) == (400, "urn:llmcf:problem:no-http")
    assert f"x-request-id: {told['instance'].rsplit(':', 1)[1]}".encode() in head
    assert written.closed


def test_a_body_that_drips_after_its_answer_is_not_read_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_S", 0.4)
    chunk = b"5\r\nabcde\r\n"

    async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse("no", 404)(scope, receive, send)

    with listening_worker(Front(refuse)) as address, socket.create_connection(address, timeout=10) as sent:
        sent.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk)
        assert sent.recv(4096).startswith(b"HTTP/1.1 404"), "who still sends is told why"
        start = time.monotonic()
        with pytest.raises(ConnectionError):
            while time.monotonic() - start < 5:
                sent.sendall(chunk)
                time.sleep(0.02)
        assert 0.2 < time.monotonic() - start < 3


def test_a_body_that_ends_after_its_answer_leaves_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_S", 0.4)

    async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse("no", 404)(scope, receive, send)

    head = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\n"
    with listening_worker(Front(refuse)) as address, socket.create_connection(address, timeout=10) as sent:
        sent.sendall(head + b"ab")
        assert sent.recv(4096).startswith(b"HTTP/1.1 404")
        sent.sendall(b"cd")
        time.sleep(0.2)
        sent.sendall(head + b"abcd")
        assert sent.recv(4096).startswith(b"HTTP/1.1 404")


def test_a_request_that_was_sent_before_the_answer_to_another_has_its_own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_S", 0.3)

    async def reading(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(0.1)
        message = await receive()
        while message.get("more_body"):
            message = await receive()
        await PlainTextResponse(scope["method"])(scope, receive, send)

    first = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
    second = b"POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 4\r\n\r\n"
    with listening_worker(Front(reading)) as address, socket.create_connection(address, timeout=10) as sent:
        sent.sendall(first + second + b"ab")
        time.sleep(0.8)
        sent.sendall(b"cd")
        assert all_of(sent).endswith(b"POST")
