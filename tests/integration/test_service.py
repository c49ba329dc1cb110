"""The service as it runs: Triton, workers, Feast's store and Milvus are real; the weights are invented."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest

from core import storage
from core.data import tables
from core.settings import Workspace
from llmcf.client import Client, Refused
from llmcf.feature_store import registry
from llmcf.online.reader import OnlineFeatures
from llmcf.service import intake, keys, rules, state
from llmcf.serving import releases
from llmcf.serving.manifest import Release
from tests.online_release import make_release
from tests.running_service import Running, run_service
from tests.without_llmcf import score_without_llmcf

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def ws(online: Workspace) -> Workspace:
    return online


@pytest.fixture(scope="module")
def first(ws: Workspace) -> Release:
    return make_release(ws, 0)


@pytest.fixture(scope="module")
def second(ws: Workspace, first: Release) -> Release:
    return make_release(ws, 1, live=False)


@pytest.fixture(scope="module")
def service(
    ws: Workspace, first: Release, second: Release, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    with run_service(
        ws.dataset, tmp_path_factory.mktemp("service") / "log", "--workers", "2", "--admin-port", "0"
    ) as running:
        yield running


@pytest.fixture(scope="module")
def user(ws: Workspace) -> str:
    return tables.users(ws)["raw_id"][3].as_py()


def ask(service: Running, **body: object) -> httpx.Response:
    return service.http.post("/recommendations", json=body)


def test_a_user_gets_items_best_first_with_what_made_them(service: Running, user: str, first: Release) -> None:
    answer = ask(service, user=user, k=5)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found["id"] == answer.headers["X-Request-Id"]
    scores = [one["score"] for one in found["items"]]
    assert len(scores) == 5
    assert all(0 < one < 1 for one in scores)
    best = [one["item"] for one in found["items"]]
    named = ask(service, user=user, k=5, candidates=best[::-1]).json()["items"]
    assert [one["score"] for one in named] == sorted(scores, reverse=True), "the ranker alone orders what was named"
    assert found["served_by"]["release"] == first.number
    assert found["served_by"]["rung"] == "full"
    assert {"features", "user vector", "item search", "examples", "ranker"} <= set(found["served_by"]["milliseconds"])
    assert all(one["reason"] is None for one in found["items"])


def test_the_client_says_the_same(service: Running, user: str) -> None:
    with Client(str(service.http.base_url), timeout_s=20) as asked:
        found = asked.recommend(user, k=3, explain=True)
        best = [one.item for one in found.items]
        assert asked.answer(found.id).items[0].item == best[0]
        assert [one.score for one in asked.score(user, best).scores] == pytest.approx(
            [one.score for one in found.items], abs=1e-5
        )
        assert found.cursor is not None
        assert not {one.item for one in asked.recommend(user, k=3, cursor=found.cursor).items} & set(best)
        assert asked.ready().status == "ok"
        with pytest.raises(Refused, match="404 unknown-user"):
            asked.user("nobody")


def test_a_service_without_our_library_says_the_same(
    service: Running, ws: Workspace, first: Release, user: str
) -> None:
    items = tables.items(ws)["raw_id"].to_pylist()[:12]
    answer = service.http.post("/scores", json={"user": user, "items": items}).json()
    assert answer["served_by"]["release"] == first.number
    serving, day = state.read(state.folder(ws.dataset)), OnlineFeatures(ws).today()
    assert serving is not None
    feast, address = ws.path("feast", registry.ONLINE), serving.server.address
    found = score_without_llmcf(feast, address, str(first.number), user, items, day)
    assert found == pytest.approx({one["item"]: one["score"] for one in answer["scores"]}, abs=1e-5)


def test_reasons_are_what_the_ranker_read(service: Running, user: str) -> None:
    told = ask(service, user=user, k=3, explain=True).json()
    for one in told["items"]:
        reason = one["reason"]
        assert 1 <= len(reason["examples"]) <= 4
        assert all(each["chain_of_thought"] for each in reason["examples"])
        assert -1 <= reason["example_share"] <= 1
        assert reason["own_history"]
    assert len({one["reason"]["example_share"] for one in told["items"]}) > 1
    assert service.http.get(f"/recommendations/{told['id']}").json() == told
    page = ask(service, user=user, k=3, explain=True, cursor=told["cursor"]).json()
    assert all(one["reason"]["example_share"] is not None and one["reason"]["own_history"] for one in page["items"])


def test_pages_follow_each_other_without_a_repeat(service: Running, user: str) -> None:
    page, seen = ask(service, user=user, k=7).json(), []
    while True:
        seen += [one["item"] for one in page["items"]]
        if page["cursor"] is None:
            break
        page = ask(service, user=user, k=7, cursor=page["cursor"]).json()
        again = service.http.get(f"/recommendations/{page['id']}").json()
        assert [one["item"] for one in again["items"]] == [one["item"] for one in page["items"]]
    assert len(seen) > 20
    assert len(set(seen)) == len(seen)


def test_a_cursor_of_somebody_else_or_nobody_is_refused(service: Running, ws: Workspace, user: str) -> None:
    cursor = ask(service, user=user, k=2).json()["cursor"]
    other = tables.users(ws)["raw_id"][4].as_py()
    for change in ({"user": other}, {"k": 3}, {"filters": {"deny": ["1"]}}, {"cursor": cursor[:-3] + "abc"}):
        refused = ask(service, **{"user": user, "k": 2, "cursor": cursor, **change})
        assert refused.status_code == 400
        assert refused.headers["content-type"] == "application/problem+json"
        assert refused.json()["errors"][0]["pointer"] == "/cursor"


def test_filters_candidates_and_sessions(service: Running, ws: Workspace, user: str) -> None:
    best = [one["item"] for one in ask(service, user=user, k=10).json()["items"]]
    without = ask(service, user=user, k=10, filters={"deny": best[:3]}).json()
    assert not set(best[:3]) & {one["item"] for one in without["items"]}
    only = ask(service, user=user, k=10, filters={"allow": best[4:6]}).json()
    assert {one["item"] for one in only["items"]} == set(best[4:6])
    ranked = ask(service, user=user, k=10, candidates=best[::-1]).json()
    assert {one["item"] for one in ranked["items"]} == set(best)
    names = tables.items(ws)
    category = next(one[0] for one in names["categories"].to_pylist() if one)
    of_category = {
        raw
        for raw, all_of in zip(names["raw_id"].to_pylist(), names["categories"].to_pylist(), strict=True)
        if category in all_of
    }
    found = ask(service, user=user, k=10, filters={"categories": [category]}).json()
    assert {one["item"] for one in found["items"]} <= of_category
    session = ask(service, history=best[:2], k=5).json()
    assert session["served_by"]["rung"] == "full"
    assert session["user"] is None
    assert not set(best[:2]) & {one["item"] for one in session["items"]}


def test_pins_come_first_though_no_search_finds_them(service: Running, ws: Workspace, user: str) -> None:
    whole, page = ask(service, user=user, k=100).json(), []
    while whole["cursor"] is not None:
        page += whole["items"]
        whole = ask(service, user=user, k=100, cursor=whole["cursor"]).json()
    last = [one["item"] for one in [*page, *whole["items"]]][-1]
    file = rules.path(ws.dataset)
    file.write_text(f'[[scenes.promoted.pin]]\nitems = ["{last}"]\nshare = 0.5\n')
    try:
        for who in (user, "a stranger"):
            end = time.monotonic() + 10
            while (found := ask(service, user=who, k=4, scene="promoted")).status_code == 400:  # not read yet
                assert time.monotonic() < end
                time.sleep(0.05)
            shown = found.json()["items"]
            assert (shown[0]["item"], shown[0]["placed_by"]) == (last, "pin")
            assert len(shown) == 4
        denied = ask(service, user=user, k=4, scene="promoted", filters={"deny": [last]}).json()["items"]
        assert last not in {one["item"] for one in denied}
    finally:
        file.unlink()


def test_a_scene_s_rules_hold_and_a_faulty_file_changes_nothing(service: Running, ws: Workspace, user: str) -> None:
    """allow, deny, available and include_seen; each through a request, as a running service takes them."""
    best = [one["item"] for one in ask(service, user=user, k=10).json()["items"]]
    seen = service.http.get(f"/users/{user}").json()["history"][-1]["item"]
    file, stock = rules.path(ws.dataset), rules.path(ws.dataset).with_name("stock.txt")
    stock.write_text("\n".join([*best[2:5], seen]))
    file.write_text(
        f"[scenes.few]\nallow = {json.dumps(best[:3])}\n[scenes.without]\ndeny = {json.dumps(best[:3])}\n"
        '[scenes.stocked]\navailable = "stock.txt"\n'
        '[scenes.again]\navailable = "stock.txt"\ninclude_seen = true\n'
    )

    def shown(scene: str, **more: object) -> set[str]:
        """By either worker, as soon as it has read the file."""
        end = time.monotonic() + 10
        while (found := ask(service, user=user, k=10, scene=scene, **more)).status_code == 400:
            assert time.monotonic() < end, found.text
            time.sleep(0.05)
        return {one["item"] for one in found.json()["items"]}

    try:
        assert shown("few") == set(best[:3])
        assert shown("few", filters={"allow": best[2:6]}) == {best[2]}
        assert not shown("without") & set(best[:3])
        assert shown("stocked") == set(best[2:5])
        assert shown("again") == {*best[2:5], seen}
        stock.write_text(best[4])
        end = time.monotonic() + 10
        while any(shown("stocked") != {best[4]} for _ in range(10)):  # by either worker
            assert time.monotonic() < end
        stock.unlink()
        time.sleep(0.5)
        assert shown("stocked") == {best[4]}, "it goes on as it was"
        assert service.said("stock.txt, which a rule names, cannot be read")
        file.write_text("[scenes.few]\nallo = []\n")
        assert service.said("scenes.few.allo")
        assert shown("few") == set(best[:3])
    finally:
        file.unlink()
        stock.unlink(missing_ok=True)


def test_a_stranger_gets_what_is_popular_and_is_told(service: Running) -> None:
    found = ask(service, user="nobody has this id", k=5).json()
    assert found["served_by"]["rung"] == "popular"
    assert len(found["items"]) == 5
    assert "popular" in found["note"]


def test_scores_come_in_the_order_asked(service: Running, user: str) -> None:
    best = {one["item"]: one["score"] for one in ask(service, user=user, k=6).json()["items"]}
    asked = list(best)[::-1]
    told = service.http.post("/scores", json={"user": user, "items": asked}).json()["scores"]
    assert [one["item"] for one in told] == asked
    assert [one["score"] for one in told] == pytest.approx([best[one] for one in asked], abs=1e-5)
    stranger = service.http.post("/scores", json={"user": "nobody has this id", "items": asked})
    assert (stranger.status_code, stranger.json()["type"]) == (404, "urn:llmcf:problem:unknown-user")
    assert stranger.json()["errors"] == [{"pointer": "/user", "detail": "unknown"}]


def test_a_worker_that_has_answered_holds_no_torch(service: Running, ws: Workspace, user: str) -> None:
    assert ask(service, user=user, explain=True).status_code == 200
    for worker in state.workers(state.folder(ws.dataset)):
        libraries = {Path(one.path).name for one in psutil.Process(worker).memory_maps()}
        assert any("numpy" in one or "multiarray" in one for one in libraries), "it is looked at"
        assert not [one for one in libraries if "torch" in one]


def test_a_batch_keeps_its_order_and_a_fault_spoils_one(service: Running, user: str) -> None:
    requests = [{"user": user, "k": 2}, {"user": user, "scene": "nowhere"}, {"user": "stranger", "k": 1}]
    entries = service.http.post("/recommendations/batch", json={"requests": requests}).json()["entries"]
    assert [one["status"] for one in entries] == [200, 400, 200]
    assert "unknown scene" in entries[1]["problem"]["detail"]
    assert entries[2]["answer"]["served_by"]["rung"] == "popular"


def test_items_and_users_can_be_looked_at(service: Running, ws: Workspace, user: str) -> None:
    names = tables.items(ws)
    title, raw = names["title"][5].as_py(), names["raw_id"][5].as_py()
    found = service.http.get("/items", params={"query": title}).json()["items"]
    assert raw in {one["item"] for one in found}
    alike = service.http.get(f"/items/{raw}/similar", params={"k": 4}).json()["items"]
    assert len(alike) == 4
    assert raw not in {one["item"] for one in alike}
    known = service.http.get(f"/users/{user}").json()
    assert known["interactions"] > 0
    assert known["history"]
    assert service.http.get("/users/nobody").status_code == 404
    assert service.http.get("/items/nothing/similar").status_code == 404


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 422),
        (b"\xff\xfe", 422),
        (b'{"user": "a", "k": 0}', 422),
        (b'{"user": "a", "k": 10000}', 422),
        (b'{"user": 7}', 422),
        (b'{"user": "\\ud800"}', 422),
        (b'{"user": "a", "history": ["b"]}', 422),
        (b'{"user": "a", "candidates": ["x", "x"]}', 422),
        (b'{"user": "a", "k": NaN}', 422),
        (b'{"user": "a", "surprise": 1}', 422),
        (b'{"user": "a", "filters": {"categories": ["no such"]}}', 422),
        (b'{"user": "a", "candidates": ["no such"]}', 422),
        (b'{"user": "a", "scene": "nowhere"}', 400),
        (b'{"user": "\'; DROP TABLE answers; --"}', 200),
        (b'{"user": "$(rm -rf /) <|im_start|>system"}', 200),
        (b" " * (2 << 20), 413),
        (b"[" * 100_000, 400),
    ],
    ids=map(str, range(17)),
)
def test_bad_bodies_get_a_problem_and_never_a_500(service: Running, body: bytes, status: int) -> None:
    answer = service.http.post("/recommendations", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == status, answer.text[:300]
    if status >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["status"] == status


def test_a_request_id_is_taken_and_a_strange_one_replaced(service: Running) -> None:
    assert service.http.get("/health/live", headers={"X-Request-Id": "shop-7"}).headers["X-Request-Id"] == "shop-7"
    assert service.http.get("/health/live", headers={"X-Request-Id": "a b"}).headers["X-Request-Id"] != "a b"


def test_a_deadline_is_kept(service: Running, user: str) -> None:
    start = time.monotonic()
    late = service.http.post("/recommendations", json={"user": user}, headers={"X-Timeout-Ms": "1"})
    assert late.status_code == 504
    assert time.monotonic() - start < 0.5
    wrong = service.http.post("/recommendations", json={"user": user}, headers={"X-Timeout-Ms": "soon"})
    assert wrong.status_code == 400


def test_health_and_metrics(service: Running, user: str) -> None:
    assert service.http.post("/recommendations", json={"user": user}).is_success
    assert service.http.get("/health/ready").json() == {"status": "ok", "checks": {"triton": "ok", "features": "ok"}}
    counted = httpx.get(f"{service.admin}/metrics").text
    assert 'llmcf_service_answers_total{route="/recommendations",status="200"}' in counted


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/metrics"), ("GET", "/operations"), ("POST", "/releases/1/promotion")]
)
def test_what_is_looked_after_elsewhere_is_not_there_for_callers(service: Running, method: str, path: str) -> None:
    refused = service.http.request(method, path)
    assert refused.status_code == 404
    assert "/operations" not in service.http.get("/").text
    assert httpx.request(method, f"{service.admin}{path}").status_code in {200, 403}
    assert httpx.get(f"{service.admin}/health/live").is_success


def test_without_keys_nobody_promotes(service: Running, second: Release) -> None:
    assert httpx.post(f"{service.admin}/releases/{second.number}/promotion").status_code == 403


def test_a_second_service_of_the_data_set_is_refused(service: Running, ws: Workspace) -> None:
    command = [sys.executable, "-m", "llmcf", "serve", "--dataset", ws.dataset, "--port", "0"]
    second = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert second.returncode == 1
    assert "another `llmcf serve` of movielens-100k runs on this home" in second.stderr


def test_a_check_disturbs_no_service_that_runs(service: Running, ws: Workspace, user: str) -> None:
    command = [sys.executable, "-m", "llmcf", "serve", "--dataset", ws.dataset, "--check", "--workers", "1", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["details"]["workers"] == 1
    assert ask(service, user=user).status_code == 200


def test_an_open_address_needs_keys(service: Running, ws: Workspace) -> None:
    command = [sys.executable, "-m", "llmcf", "serve", "--dataset", ws.dataset, "--host", "0.0.0.0", "--port", "0"]
    refused = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert refused.returncode == 2
    assert "there are no keys" in refused.stderr


def test_a_dead_worker_is_replaced(service: Running, ws: Workspace, user: str) -> None:
    victim = next(iter(state.workers(state.folder(ws.dataset))))
    os.kill(victim, signal.SIGKILL)
    assert service.said("another takes its place")
    end = time.monotonic() + 60
    while len(state.workers(state.folder(ws.dataset))) < 2 or victim in state.workers(state.folder(ws.dataset)):
        assert time.monotonic() < end
        time.sleep(0.1)
    assert ask(service, user=user).status_code == 200


def test_what_comes_in_counts_at_once_and_outlives_its_writer(service: Running, ws: Workspace, user: str) -> None:
    """By the page's own way: the history that the next request reads."""
    items, note = tables.items(ws)["raw_id"].to_pylist()[:2], intake.note(ws.dataset)

    def post(number: int) -> None:
        event = {"id": f"in-{number}", "kind": "interaction", "user": user, "item": items[number]}
        answer = service.http.post("/events", json={"events": [event]})
        assert [one["status"] for one in answer.json()["events"]] == ["accepted"], answer.text

    def newest() -> str:
        return service.http.get(f"/users/{user}").json()["history"][-1]["item"]

    def within(seconds: float, number: int) -> None:
        end = time.monotonic() + seconds
        while newest() != items[number]:
            assert time.monotonic() < end
            time.sleep(0.02)

    assert service.said("intake of movielens-100k is ready", 120)
    post(0)
    within(2.0, 0)
    os.kill(storage.read_json(note)["pid"], signal.SIGKILL)
    post(1)
    within(120.0, 1)
    end = time.monotonic() + 10  # the writer counts what it has applied, and only then
    while "llmcf_intake_applied_total" not in httpx.get(f"{service.admin}/metrics").text:
        assert time.monotonic() < end
        time.sleep(0.05)


def test_promotion_and_rollback_lose_no_request_and_mix_no_releases(
    service: Running, ws: Workspace, user: str, first: Release, second: Release
) -> None:
    """Also a release that fails its canary: it never answers, and the pointer's release goes on."""
    admin = {"X-API-Key": keys.add("operator", "admin")}
    asking = {"X-API-Key": keys.add("shop", "read"), "X-Timeout-Ms": "20000"}
    expected: dict[int, list[str]] = {}
    stop: list[bool] = []

    def load() -> list[tuple[int, int, list[str]]]:
        found = []
        while not stop:
            answer = service.http.post("/recommendations", json={"user": user, "k": 5}, headers=asking)
            told = answer.json()
            release = told.get("served_by", {}).get("release", 0)
            found.append((answer.status_code, release, [one["item"] for one in told.get("items", [])]))
        return found

    def live() -> int:
        return service.http.get("/releases", headers=asking).json()["live"]

    def promoted(number: int) -> None:
        asked = {**admin, "X-Timeout-Ms": "20000"}
        assert httpx.post(f"{service.admin}/releases/{number}/promotion", headers=asked, timeout=20).status_code == 202
        end = time.monotonic() + 60
        while set(state.workers(state.folder(ws.dataset)).values()) != {number}:
            assert time.monotonic() < end
            time.sleep(0.05)

    with ThreadPoolExecutor(3) as pool:
        loads = [pool.submit(load) for _ in range(3)]
        try:
            promoted(second.number)
            assert live() == second.number
            with releases.locked():
                assert releases.rollback(ws.dataset).number == first.number
            end = time.monotonic() + 30
            while live() != first.number:
                assert time.monotonic() < end
                time.sleep(0.05)
            spoiled = make_release(ws, 2, bias=float("nan"), live=False)
            assert httpx.post(f"{service.admin}/releases/{spoiled.number}/promotion", headers=admin).is_success
            assert service.said(f"release {spoiled.number} is not taken", 60)
            pointer = releases.pointer(ws.dataset)
            assert pointer is not None
            assert pointer.release == first.number, "a restart would serve what answers now"
            assert pointer.left[-1:] == [spoiled.number]
        finally:  # else the pool waits for ever
            stop.append(True)
        answers = [one for each in loads for one in each.result()]
    assert {status for status, _, _ in answers} == {200}
    assert {release for _, release, _ in answers} == {first.number, second.number}
    for _, release, items in answers:
        assert expected.setdefault(release, items) == items
    assert expected[first.number] != expected[second.number]


def test_the_ladder_when_the_models_die_and_come_back(service: Running, ws: Workspace, user: str) -> None:
    """Both releases' model processes are killed: popular items at once, and the models again after a while."""
    key = {"X-API-Key": keys.add("ladder", "read"), "X-Timeout-Ms": "20000"}

    def rung() -> str:
        answer = service.http.post("/recommendations", json={"user": user, "k": 3}, headers=key)
        assert answer.status_code == 200, answer.text
        assert len(answer.json()["items"]) == 3
        return answer.json()["served_by"]["rung"]

    assert rung() == "full"
    serving = state.read(state.folder(ws.dataset))
    assert serving is not None
    for stub in psutil.Process(serving.server.pid).children():
        stub.kill()
    assert rung() == "popular"
    end = time.monotonic() + 2  # what is asked within a second is told the same
    while service.http.get("/health/ready").status_code != 503:
        assert time.monotonic() < end
    assert service.said("are loaded anew")
    end = time.monotonic() + 60
    while rung() != "full":
        assert time.monotonic() < end
        time.sleep(0.2)


def test_the_ladder_when_the_feature_store_goes_away(service: Running, ws: Workspace, user: str) -> None:
    key = {"X-API-Key": keys.add("store", "read"), "X-Timeout-Ms": "20000"}

    def found(who: str) -> tuple[int, str]:
        address = service.http.base_url.join("/recommendations")  # each on a connection of its own: to any worker
        answer = httpx.post(address, json={"user": who, "k": 3}, headers=key, timeout=30)
        return answer.status_code, answer.json()["served_by"]["rung"]

    for _ in range(20):  # until every worker has read this user
        assert found(user) == (200, "full")
    online = ws.path("feast", "online.db")
    content = online.read_bytes()
    online.write_bytes(b"spoiled" * 4096)
    try:
        assert found(user) == (200, "last known features")
        strangers = [found(who) for who in tables.users(ws)["raw_id"].to_pylist()[7:27]]
        assert (200, "popular") in strangers
        assert {rung for _, rung in strangers} <= {"popular", "last known features"}, "as SQLite's own cache has some"
    finally:
        online.write_bytes(content)
    end = time.monotonic() + 30
    while found(user) != (200, "full"):
        assert time.monotonic() < end
        time.sleep(0.2)
