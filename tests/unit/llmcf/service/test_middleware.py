"""What every request passes, over an application that reads its body as FastAPI does."""

from collections.abc import Iterator

import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient

from llmcf.service.middleware import LARGEST, Front


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
