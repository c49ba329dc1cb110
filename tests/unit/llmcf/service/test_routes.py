"""Routes over a release and a store that are played: what they wait for, and how they find what they are asked."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest
from fastapi import FastAPI

from core.settings import Workspace
from llmcf.feature_store import registry
from llmcf.service import keys
from llmcf.service.access import Door
from llmcf.service.admission import Admission
from llmcf.service.app import create_app
from llmcf.service.breaker import Breaker
from llmcf.service.middleware import ANSWERS, TIMEOUT
from llmcf.service.remembered import Remembered
from llmcf.service.service import Service
from llmcf.service.store import Store
from llmcf.serving import releases
from tests.synthetic_release import write_release

WS = Workspace("movielens-100k", "shuffled-ties")
SLOW_S = 0.5


class Slow:
    """A feature store that takes its time."""

    def user(self, _: int) -> dict[str, Any]:
        time.sleep(SLOW_S)
        return {"history": [2]}


class Titles(dict[int, str]):
    """Those that take as long to look through as many."""

    def items(self) -> Any:
        time.sleep(SLOW_S)
        return super().items()


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FastAPI:
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LLMCF_TRITON_MODELS", str(tmp_path / "models"))
    monkeypatch.setattr(registry, "materialized", lambda _: {})
    monkeypatch.setattr("llmcf.service.routes.releases._info", lambda _, number: {"release": number, "state": ""})
    write_release(WS)
    write_release(WS, live=False)
    features = Remembered(cast(Any, Slow()), Breaker("store"))
    recommender = SimpleNamespace(
        users=SimpleNamespace(row_of={"c/0": 5}.get),
        catalogue=SimpleNamespace(
            item_ids={2: "a/b"}, names=Titles({2: "Rose soap"}), brands={2: ""}, categories={2: []}, rows={"a/b": 2}
        ),
        items={2},
        features=features,
        taken=lambda _: [2],
        like=lambda *_: SimpleNamespace(item_C=[]),
    )
    live = SimpleNamespace(recommender=recommender, features=features, release=SimpleNamespace(number=1))
    engine = cast(Any, SimpleNamespace(live=live, dataset=WS.dataset))
    made = create_app(WS.dataset, tmp_path)
    made.state.service = Service(engine, Store(tmp_path / "service.db"), cast(Any, None))
    return made


def asked(app: FastAPI, *requests: Callable[[httpx.AsyncClient], Awaitable[httpx.Response]]) -> list[httpx.Response]:
    """Answers to requests one after the other; none of them may keep the event loop from others."""
    gaps: list[float] = []

    async def beat() -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.01)
            gaps.append(time.monotonic() - before)

    async def scenario() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            heart = asyncio.create_task(beat())
            await asyncio.sleep(0.05)
            found = [await one(client) for one in requests]
            await asyncio.sleep(0.05)
            heart.cancel()
        return found

    found = asyncio.run(scenario())
    assert max(gaps) < 0.8 * SLOW_S
    return found


def test_who_asks_for_what_takes_long_keeps_nobody_waiting(app: FastAPI) -> None:
    paths = ["/users/c%2F0", "/items?query=rose"]
    found = asked(app, *(lambda client, path=path: client.get(path) for path in paths))
    assert [one.status_code for one in found] == [200, 200], found[0].text
    for one in found:
        served = one.json()["served_by"]
        assert (served["release"], served["rung"], served["degraded"]) == (1, "full", [])
        assert served["milliseconds"]["look"] > 0


def test_a_choice_waits_a_moment_for_another_and_is_then_refused(app: FastAPI) -> None:
    header = {keys.HEADER: keys.add("anna", "admin")}

    def promote(client: httpx.AsyncClient) -> Awaitable[httpx.Response]:
        return client.post("/releases/2/promotion", headers=header)

    with releases.locked():
        (refused,) = asked(app, promote)
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert "another process promotes" in refused.json()["detail"]
    (done,) = asked(app, promote)
    assert done.status_code == 202, done.text
    pointer = releases.pointer(WS.dataset)
    assert pointer is not None
    assert pointer.release == 2


@pytest.mark.parametrize(("method", "path"), [("GET", "/releases"), ("POST", "/releases/2/promotion")])
def test_who_looks_after_the_service_is_answered_in_time_though_all_places_are_taken(
    app: FastAPI, monkeypatch: pytest.MonkeyPatch, method: str, path: str
) -> None:
    slow = Event()
    monkeypatch.setattr("llmcf.service.routes.releases._info", lambda *_: slow.wait(5))
    app.state.service.admission = Admission(1, 0)
    header = {keys.HEADER: keys.add("anna", "admin"), TIMEOUT: "100"}

    async def ask(client: httpx.AsyncClient) -> httpx.Response:
        await app.state.service.admission.enter(1.0)
        start = time.monotonic()
        found = await client.request(method, path, headers=header)
        assert time.monotonic() - start < 3
        slow.set()
        return found

    (late,) = asked(app, ask)
    assert (late.status_code, late.json()["type"]) == (504, "urn:llmcf:problem:deadline")


def test_ids_may_hold_slashes(app: FastAPI) -> None:
    paths = [
        "/users/c%2F0",
        "/users/c/0",
        "/items/a%2Fb/similar",
        "/users/c%2F1",
        "/items/a%2Fc/similar",
        "/items/a%2Fb",
    ]
    found = asked(app, *(lambda client, path=path: client.get(path) for path in paths))
    assert [one.status_code for one in found] == [200, 200, 200, 404, 404, 404]
    assert found[0].json()["user"] == "c/0"
    assert (found[2].json()["item"], found[2].json()["items"]) == ("a/b", [])
    kinds = [one.json()["type"].rpartition(":")[2] for one in found[3:]]
    assert kinds == ["unknown-user", "unknown-item", "unknown-route"]
    assert {"/users/{identity}", "/items/{identity}/similar"} <= set(app.openapi()["paths"])
    counted = {one.labels["route"] for metric in ANSWERS.collect() for one in metric.samples}
    assert "/users/{identity}" in counted
    assert not [one for one in counted if ":path" in one]


def test_what_nobody_foresaw_is_answered_with_the_request_s_id(app: FastAPI) -> None:
    app.state.service.engine.live.recommender.users.row_of = None
    (found,) = asked(app, lambda client: client.get("/users/x", headers={"X-Request-Id": "r-7"}))
    assert (found.status_code, found.headers.get_list("x-request-id")) == (500, ["r-7"])
    assert found.json()["instance"] == "urn:llmcf:request:r-7"


def test_a_key_that_asks_too_often_is_told_when_to_ask_again(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMCF_REQUESTS_PER_SECOND", "1")  # and twice that at once
    app.state.service.door = Door()
    eager, other = ({keys.HEADER: keys.add(name, "read")} for name in ("eager", "other"))
    headers = [eager, eager, eager, other]
    found = asked(app, *(lambda client, one=one: client.get("/users/x", headers=one) for one in headers))
    assert [one.status_code for one in found] == [404, 404, 429, 404]
    assert found[2].headers["retry-after"] == "1"
    assert found[2].headers["content-type"] == "application/problem+json"
    assert found[2].json()["type"] == "urn:llmcf:problem:too-many"
    assert found[2].headers["x-request-id"]


@pytest.mark.parametrize("path", ["/docs", "/sign-in", "/nowhere"])
def test_pages_lead_to_operations_only_where_they_are(app: FastAPI, path: str) -> None:
    header, app.state.admin_port = {"accept": "text/html"}, 7071

    def at(port: int) -> Callable[[httpx.AsyncClient], Awaitable[httpx.Response]]:
        return lambda client: client.get(f"http://localhost:{port}{path}", headers=header)

    found = asked(app, at(7070), at(7071))
    assert [bool(re.search('href="/operations"', page.text)) for page in found] == [False, True]
