"""The ladder where a real part breaks: Milvus loses the examples, or the live release's models die alone."""

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import psutil
import pytest

from core import settings
from core.data import tables
from core.settings import Workspace
from ict import milvus
from ict.index import index
from llmcf.service import keys, state
from llmcf.service.service import WAITING
from llmcf.serving.manifest import Release
from tests.online_release import make_release
from tests.running_service import Running, run_service

pytestmark = pytest.mark.integration
KEY: dict[str, str] = {"X-Timeout-Ms": "20000"}


@pytest.fixture(scope="module")
def release(online: Workspace) -> Release:
    return make_release(online, 0)


@pytest.fixture(scope="module")
def service(online: Workspace, release: Release, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    log = tmp_path_factory.mktemp("service") / "log"
    with run_service(online.dataset, log, "--workers", "1") as running:
        yield running


@pytest.fixture(scope="module")
def user(online: Workspace) -> str:
    return tables.users(online)["raw_id"][3].as_py()


def asked(service: Running, user: str) -> tuple[str, dict[str, Any]]:
    answer = service.http.post("/recommendations", json={"user": user, "k": 5, "explain": True}, headers=KEY)
    assert answer.status_code == 200, answer.text
    return answer.json()["served_by"]["rung"], answer.json()


def shown(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """What users see: items, scores, reasons."""
    return answer["items"]


def until(service: Running, user: str, rung: str) -> dict[str, Any]:
    end = time.monotonic() + 90
    while (found := asked(service, user))[0] != rung:
        assert time.monotonic() < end, found
        time.sleep(0.2)
    return found[1]


def replaced(service: Running, ws: Workspace) -> None:
    """Kill the worker, and wait for the one that takes its place."""
    place = state.folder(ws.dataset)
    (before,) = state.workers(place)
    os.kill(before, signal.SIGKILL)
    end = time.monotonic() + 90
    while list(state.workers(place)) in ([before], []):
        assert time.monotonic() < end
        time.sleep(0.1)


@contextmanager
def stopped(ws: Workspace) -> Iterator[None]:
    """While the block runs Triton and its model processes stand still: they take connections and say nothing."""
    serving = state.read(state.folder(ws.dataset))
    assert serving is not None
    triton = psutil.Process(serving.server.pid)
    processes = [triton, *triton.children(recursive=True)]
    try:
        for one in processes:
            one.suspend()
        yield
    finally:
        for one in processes:
            one.resume()


@pytest.mark.parametrize("deadline_ms", [300, 1000])
def test_where_triton_hangs_the_next_rung_answers_in_the_caller_s_time(
    service: Running, online: Workspace, user: str, deadline_ms: int
) -> None:
    """It does not die, so nobody is told: all there is is the time that a request has."""
    until(service, user, "full")
    headers = {**KEY, "X-Timeout-Ms": str(deadline_ms)}
    with stopped(online):
        start = time.monotonic()
        found = service.http.post("/recommendations", json={"user": user, "k": 5}, headers=headers)
        took = time.monotonic() - start
        ready = service.http.get("/health/ready", headers=headers)
        ready_took = time.monotonic() - start - took
        scores = service.http.post("/scores", json={"user": user, "items": ["1"]}, headers=headers)
    assert (found.status_code, ready.status_code) == (200, 503), found.text + ready.text
    assert found.json()["served_by"]["rung"] == "popular"
    assert len(found.json()["items"]) == 5
    assert max(took, ready_took) < deadline_ms / 1e3 + 0.1
    assert scores.status_code in (503, 504)
    until(service, user, "full")


def test_a_triton_that_stands_still_is_started_anew(service: Running, online: Workspace, user: str) -> None:
    """Nobody lets it go on; a worker that dies meanwhile is replaced all the same."""
    until(service, user, "full")
    place = state.folder(online.dataset)
    serving = state.read(place)
    assert serving is not None
    triton = psutil.Process(serving.server.pid)
    for one in [triton, *triton.children(recursive=True)]:
        one.suspend()
    replaced(service, online)
    assert service.said("Triton gave no answer 3 times in a row; it is started anew", seconds=60)
    assert service.said("Triton answers again", seconds=60)
    until(service, user, "full")
    after = state.read(place)
    assert after is not None
    assert (after.server.address, after.server.pid == serving.server.pid) == (serving.server.address, False)


def test_what_is_over_the_line_is_refused_at_once_and_told_when_to_ask_again(
    service: Running, online: Workspace, user: str
) -> None:
    """One worker, whose places are all taken by requests that wait for a Triton which hangs."""
    until(service, user, "full")

    async def burst() -> list[tuple[float, httpx.Response]]:
        async with httpx.AsyncClient(base_url=service.http.base_url, limits=httpx.Limits(), timeout=10) as client:
            start = time.monotonic()

            async def one(number: int) -> tuple[float, httpx.Response]:
                headers = {**KEY, "X-Timeout-Ms": "1000", "X-Request-Id": f"b-{number}"}
                found = await client.post("/recommendations", json={"user": user, "k": 3}, headers=headers)
                return time.monotonic() - start, found

            return await asyncio.gather(*(one(number) for number in range(4 * (settings.requests_at_once() + WAITING))))

    with stopped(online):
        told = asyncio.run(burst())
    assert {found.status_code for _, found in told} <= {200, 503, 504}
    refused = [found for _, found in told if found.status_code == 503]
    assert refused
    for found in refused:
        assert (found.headers["retry-after"], found.json()["type"]) == ("1", "urn:llmcf:problem:overloaded")
        assert found.headers["content-type"] == "application/problem+json"
        assert found.headers["x-request-id"].startswith("b-")
    assert {found.json()["served_by"]["rung"] for _, found in told if found.status_code == 200} == {"popular"}
    assert until(service, user, "full")


def test_milvus_loses_the_examples_and_has_them_again(
    service: Running, online: Workspace, release: Release, user: str
) -> None:
    """Whoever holds a replica goes on, who starts reads the copy; without one, without, until there are again."""
    rung, whole = asked(service, user)
    assert rung == "full"
    with milvus.connect(online) as client:
        client.drop_collection(release.collections["cot"])
    assert [one["score"] for one in asked(service, user)[1]["items"]] == [one["score"] for one in whole["items"]]
    assert asked(service, user)[0] == "full", "the replica goes on"
    replaced(service, online)
    assert shown(until(service, user, "full")) == shown(whole)
    copy = state.folder(online.dataset) / "of-milvus" / f"{release.collections['cot']}.arrow"
    copy.unlink()
    replaced(service, online)
    bare = until(service, user, "without examples")
    assert service.said(f"release {release.number} goes without examples: Milvus does not hold")
    assert all(one["reason"]["examples"] == [] for one in bare["items"])
    shares = {one["item"]: one["reason"]["example_share"] for one in whole["items"]}
    scores = {one["item"]: one["score"] for one in whole["items"]}
    both = [one for one in bare["items"] if one["item"] in scores]
    assert both
    for one in both:
        assert one["score"] == pytest.approx(scores[one["item"]] - shares[one["item"]], abs=1e-5)
    assert service.http.get("/health/ready").status_code == 200
    assert index(online).details["collection"] == release.collections["cot"]
    assert [one["item"] for one in until(service, user, "full")["items"]] == [one["item"] for one in whole["items"]]
    assert copy.exists()


@contextmanager
def away(ws: Workspace) -> Iterator[None]:
    """While the block runs there is no Milvus: something else lies in its place."""
    place = ws.path("milvus.db")
    aside = place.rename(place.with_name("aside"))
    place.write_bytes(b"no Milvus")
    try:
        yield
    finally:
        place.unlink()
        aside.rename(place)


def test_a_worker_that_starts_while_there_is_no_milvus_answers_as_those_before_it(
    service: Running, online: Workspace, release: Release, user: str
) -> None:
    whole = until(service, user, "full")
    with away(online):
        replaced(service, online)
        assert shown(until(service, user, "full")) == shown(whole)


def test_the_previous_release_answers_where_the_live_one_s_models_are_dead(
    service: Running, online: Workspace, release: Release, user: str
) -> None:
    second = make_release(online, 1, live=False)
    KEY["X-API-Key"] = keys.add("operator", "admin")
    assert service.http.post(f"/releases/{second.number}/promotion", headers=KEY).status_code == 202
    end = time.monotonic() + 90
    while set(state.workers(state.folder(online.dataset)).values()) != {second.number}:
        assert time.monotonic() < end
        time.sleep(0.1)
    assert asked(service, user)[1]["served_by"]["release"] == second.number
    serving = state.read(state.folder(online.dataset))
    assert serving is not None
    stubs = psutil.Process(serving.server.pid).children()
    killed = [one for one in stubs if f"/{second.number}/model.py" in " ".join(one.cmdline())]
    assert len(killed) == len(second.stages) + 1, "and the model score"
    for one in killed:
        one.kill()
    rung, found = asked(service, user)
    assert (rung, found["served_by"]["release"]) == ("previous release", release.number)
    back = until(service, user, "full")["served_by"]["release"]
    assert back == release.number, "it was under watch, so it is taken back"
