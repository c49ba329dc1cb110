"""The client: what it sends, what it makes of answers and refusals, and that it brings nothing that trains."""

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any, cast

import httpx
import pytest

from core.settings import PROJECT
from llmcf import client
from llmcf.client import Client, Refused
from llmcf.service import middleware
from llmcf.service.intake_messages import EventIn
from llmcf.service.messages import Filters, RecommendationRequest

ANSWER = {
    "id": "r1",
    "user": "c0",
    "items": [{"item": "p1", "title": "One", "score": 0.5}],
    "served_by": {"release": 3, "rung": "full", "milliseconds": {"ranker": 1.5}},
}
LIGHT = """
import sys, llmcf.client
heavy = {"torch", "feast", "pymilvus", "airflow", "transformers", "numpy", "fastapi"} & set(sys.modules)
assert not heavy, heavy
"""


def service(handler: Callable[[httpx.Request], httpx.Response], **options: object) -> Client:
    return Client("http://localhost", transport=httpx.MockTransport(handler), **options)  # pyright: ignore[reportArgumentType]


def problem(status: int, kind: str, **more: object) -> httpx.Response:
    body = {"type": f"urn:llmcf:problem:{kind}", "status": status, "detail": "what is wrong", **more}
    headers = {"content-type": "application/problem+json", "X-Request-Id": "r9", "Retry-After": "0"}
    return httpx.Response(status, headers=headers, content=json.dumps(body))


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    taken: list[float] = []
    monkeypatch.setattr(client.time, "sleep", taken.append)
    return taken


def test_a_request_says_what_is_asked_and_no_more() -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json=ANSWER)

    with service(answer, key="secret", timeout_s=0.25) as asked:
        found = asked.recommend("c0", k=3, filters=Filters(deny=["p7"]))
    assert found.items[0].title == "One"
    assert found.served_by.release == 3
    assert (seen[0].method, seen[0].url.path) == ("POST", "/recommendations")
    assert json.loads(seen[0].content) == {"user": "c0", "k": 3, "filters": {"deny": ["p7"]}}
    assert (seen[0].headers["X-API-Key"], seen[0].headers["X-Timeout-Ms"]) == ("secret", "250")


@pytest.mark.parametrize(("timeout_s", "told"), [(0.0001, "1"), (2.5, "2500"), (60, "30000")])
def test_the_service_is_told_a_time_that_it_takes(timeout_s: float, told: str) -> None:
    seen: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers["X-Timeout-Ms"])
        return httpx.Response(200, json={"live": 1, "releases": []})

    service(answer, timeout_s=timeout_s).releases()
    assert seen == [told]
    assert middleware._timeout({b"x-timeout-ms": told}) == float(told)


def test_ids_are_one_part_of_a_path_whatever_they_hold() -> None:
    paths: list[bytes] = []

    def answer(request: httpx.Request) -> httpx.Response:
        paths.append(request.url.raw_path)
        return httpx.Response(
            200, json={"item": "x", "items": [], "served_by": {"release": 1, "rung": "full", "milliseconds": {}}}
        )

    service(answer).similar("../a b/ü", k=2)
    assert paths == [b"/items/..%2Fa%20b%2F%C3%BC/similar?k=2"]


def test_a_refusal_is_told_with_its_faults_and_the_requests_id() -> None:
    fault = {"pointer": "/items/0", "detail": "unknown item"}
    with pytest.raises(Refused) as caught:
        service(lambda _: problem(422, "unknown-item", errors=[fault])).score("c0", ["p1"])
    assert (caught.value.status, caught.value.kind, caught.value.request) == (422, "unknown-item", "r9")
    assert str(caught.value) == "422 unknown-item: what is wrong (/items/0: unknown item)"


def test_an_overloaded_service_is_asked_once_more_and_no_other_refusal_is(waits: list[float]) -> None:
    answers = [problem(503, "overloaded"), httpx.Response(200, json=ANSWER)]
    assert service(lambda _: answers.pop(0)).recommend("c0").id == "r1"
    assert len(waits) == 1
    asked: list[int] = []

    def refuse(_: httpx.Request) -> httpx.Response:
        asked.append(1)
        return problem(503 if len(asked) < 9 else 200, "overloaded")

    with pytest.raises(Refused, match="503 overloaded"):
        service(refuse, again=2).recommend("c0")
    assert len(asked) == 3
    with pytest.raises(Refused, match="429"):
        service(lambda _: problem(429, "too-many")).recommend("c0")
    assert len(waits) == 3


def test_where_nobody_answers_it_says_so() -> None:
    def fail(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    with pytest.raises(Refused, match="0 no-answer: nobody answers at http://localhost"):
        service(fail).ready()


def test_a_request_that_may_be_under_way_is_not_sent_again(waits: list[float]) -> None:
    """A slow service would have double the work, and the caller wait for twice as long."""
    asked: list[type[httpx.TransportError]] = []

    def fail(error: type[httpx.TransportError]) -> Callable[[httpx.Request], httpx.Response]:
        def answer(request: httpx.Request) -> httpx.Response:
            asked.append(error)
            raise error("no answer", request=request)

        return answer

    for error in (httpx.ReadTimeout, httpx.ConnectError, httpx.ReadError):  # the last: a worker was killed
        with pytest.raises(Refused, match="0 no-answer"):
            service(fail(error)).recommend("c0")
    assert asked == [httpx.ReadTimeout, *[httpx.ConnectError] * 2, *[httpx.ReadError] * 2]
    assert len(waits) == 2


def test_what_a_later_service_says_besides_is_left_out() -> None:
    later = ANSWER | {"mood": "fine", "items": [one | {"colour": "red"} for one in cast(Any, ANSWER)["items"]]}
    assert service(lambda _: httpx.Response(200, json=later)).recommend("c0").items[0].title == "One"


@pytest.mark.parametrize("content", [b"<html>", b"[]", b'{"id": 3}'])
def test_what_is_no_answer_of_such_a_service_is_told_as_that(content: bytes) -> None:
    with pytest.raises(Refused, match="200 no-message: this is no answer of such a service"):
        service(lambda _: httpx.Response(200, content=content)).recommend("c0")
    with pytest.raises(Refused, match="502 failed: Bad Gateway"):
        service(lambda _: httpx.Response(502, content=content)).recommend("c0")


def test_a_page_that_is_no_problem_is_told_by_its_status() -> None:
    with pytest.raises(Refused, match="502 failed: Bad Gateway"):
        service(lambda _: httpx.Response(502, content=b"<html>")).releases()


def test_batches_and_events_go_as_lists() -> None:
    bodies: list[object] = []

    def answer(request: httpx.Request) -> httpx.Response:
        bodies.append(json.loads(request.content))
        return httpx.Response(200, json={"entries": []} if "batch" in request.url.path else {"events": []})

    asked = service(answer)
    asked.recommend_batch([RecommendationRequest(user="c0", k=2)])
    asked.send_events([EventIn(id="e1", kind="click", user="c0", item="p1")])
    assert bodies == [
        {"requests": [{"user": "c0", "k": 2}]},
        {"events": [{"id": "e1", "kind": "click", "user": "c0", "item": "p1"}]},
    ]


def test_it_brings_nothing_that_trains_or_serves() -> None:
    done = subprocess.run([sys.executable, "-c", LIGHT], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
