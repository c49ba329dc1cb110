"""What every request passes, over an application that reads its body as FastAPI does."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any, cast

import httpx
import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from llmcf.service.middleware import LARGEST, LIVE, Front
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

    with TestClient(app) as client:
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


def test_more_requests_than_a_worker_reads_are_a_problem_like_any_other() -> None:
    """Those that are there are answered, and so is who asks whether the worker lives."""
    until = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] != LIVE:
            await until.wait()
        await PlainTextResponse("done")(scope, receive, send)

    async def scenario() -> list[httpx.Response]:
        transport = httpx.ASGITransport(Front(app, most=2))
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
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


def test_what_is_no_http_is_told_so_in_a_problem() -> None:
    class Written(asyncio.Transport):
        told, closed = b"", False

        def write(self, data: Any) -> None:
            self.told += data

        def close(self) -> None:
            self.closed = True

    protocol = cast(Any, Protocol.__new__(Protocol))
    protocol.transport = written = Written()
    protocol.send_400_response("Invalid HTTP request received.")
    head, _, body = written.told.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/problem+json\r\n")
    told = json.loads(body)
    assert (told["status"], told["type"]) == (400, "urn:llmcf:problem:no-http")
    assert f"x-request-id: {told['instance'].rsplit(':', 1)[1]}".encode() in head
    assert written.closed
