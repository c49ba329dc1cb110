"""What callers send is judged: each kind of bad input gets its answer, and leaves nothing behind."""

import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi.testclient import TestClient

from core.data import added, features, vocabulary
from core.data.prepare import prepare
from core.settings import Workspace
from llmcf.feature_store import jobs, registry
from llmcf.service import keys, reception
from llmcf.service.app import create_app
from llmcf.service.inbox import EVENT, ITEM, USER, Inbox
from llmcf.service.reception import Reception
from llmcf.service.service import Service
from llmcf.service.store import Store
from tests.shop import START, Shop

WS = Workspace("shop", "published")
END = int(START.timestamp()) + 5 * 86_400  # of the materialized states
EVENT_1 = {"id": "e1", "kind": "interaction", "user": "p0", "item": "g8"}
FAR_AHEAD = time.time() + 10 * 86_400  # still ahead however late a test runs after this line
LAMP = {"id": "lamp", "title": "A lamp", "brand": "m1", "categories": ["Light"], "description": "Shines."}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home with the shop of 1 to 5 March, prepared and materialized by a Feast that does nothing."""
    folder = tmp_path_factory.mktemp("shop")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMCF_HOME", str(folder / "home"))
        patch.setattr(registry, "run", lambda ws, *job, folder=None: None)
        prepare(WS, source=Shop().write(folder / "export"), seed=1)
        features.build(WS)
        jobs.apply(WS)
        jobs.materialize(WS)
        yield folder


@pytest.fixture
def service(shop: Path, tmp_path: Path) -> Service:
    """A worker's parts over an empty inbox; the releases are played."""
    path = tmp_path / "service.db"
    store = Store(path)
    engine: Any = SimpleNamespace(live=SimpleNamespace(release=SimpleNamespace(workspace=WS)), close=lambda: None)
    return Service(engine, store, Reception("shop", Inbox(path), store))


@pytest.fixture
def box(service: Service) -> Inbox:
    return service.reception._box


@pytest.fixture
def http(service: Service, tmp_path: Path) -> TestClient:
    app = create_app("shop", tmp_path)
    app.state.service = service
    return TestClient(app, base_url="http://localhost")  # without its lifespan, which would open releases


def send(http: TestClient, *events: dict[str, Any]) -> list[dict[str, Any]]:
    answer = http.post("/events", json={"events": list(events)})
    assert answer.status_code == 202, answer.text
    return answer.json()["events"]


def test_events_are_accepted_in_their_places_and_wait(http: TestClient, box: Inbox):
    before = int(time.time())
    click, other = {**EVENT_1, "id": "e2", "kind": "click"}, {**EVENT_1, "id": "e3", "user": 7.0, "timestamp": before}
    told = send(http, EVENT_1, click, other)
    assert [one["status"] for one in told] == ["accepted"] * 3
    assert [one["id"] for one in told] == ["e1", "e2", "e3"]
    first, last = box.waiting(EVENT, 10)
    assert before <= first.body["timestamp"] <= time.time()
    assert last.body == {"kind": "interaction", "user": "7", "item": "g8", "timestamp": before}


def test_sending_again_does_no_harm(http: TestClient, box: Inbox):
    send(http, EVENT_1)
    again = send(http, EVENT_1, {**EVENT_1, "item": "g9"}, {**EVENT_1, "id": "e2"}, {**EVENT_1, "id": "e2"})
    assert [one["status"] for one in again] == ["duplicate", "refused", "accepted", "duplicate"]
    assert (again[1]["reason"], again[1]["pointer"]) == ("id_taken", "/events/1/id")
    assert [one.id for one in box.waiting(EVENT, 10)] == ["e1", "e2"]


@pytest.mark.parametrize(
    ("change", "reason", "field"),
    [
        ({"item": "nothing"}, "unknown_item", "item"),
        ({"item": ""}, "bad_id", "item"),
        ({"item": None}, "missing_field", "item"),
        ({"item": ["g8"]}, "bad_id", "item"),
        ({"user": True}, "bad_id", "user"),
        ({"user": 7.5}, "bad_id", "user"),
        ({"user": "a\x00b"}, "bad_id", "user"),
        ({"user": "a" * 257}, "bad_id", "user"),
        ({"user": 1e300}, "bad_id", "user"),
        ({"timestamp": "now"}, "bad_time", "timestamp"),
        ({"timestamp": True}, "bad_time", "timestamp"),
        ({"timestamp": 0}, "no_date", "timestamp"),
        ({"timestamp": -864_000}, "negative_time", "timestamp"),
        ({"timestamp": 10**30}, "bad_time", "timestamp"),
        ({"timestamp": FAR_AHEAD * 1000}, "future_time", "timestamp"),
        ({"timestamp": FAR_AHEAD}, "future_time", "timestamp"),
    ],
)
def test_an_event_that_is_none_is_refused_alone(
    http: TestClient, box: Inbox, change: dict[str, Any], reason: str, field: str
):
    told = send(http, EVENT_1, {**EVENT_1, "id": "bad", **change}, {**EVENT_1, "id": "e3"})
    assert [one["status"] for one in told] == ["accepted", "refused", "accepted"]
    assert (told[1]["reason"], told[1]["pointer"]) == (reason, f"/events/1/{field}")
    assert told[1]["detail"].isascii()
    assert not box.has(EVENT, "bad")
    assert send(http, {**EVENT_1, "id": "bad"})[0]["status"] == "accepted", "the id is free once it is mended"


def test_events_none_of_which_can_be_taken_are_a_problem_with_the_place_of_each(http: TestClient, box: Inbox):
    later = {**EVENT_1, "timestamp": time.time() + 3600}
    answer = http.post("/events", json={"events": [later, {**EVENT_1, "id": "e2", "item": "nothing"}]})
    assert answer.status_code == 422
    told = answer.json()
    assert told["type"] == "urn:llmcf:problem:no-event-taken"
    assert [one["pointer"] for one in told["errors"]] == ["/events/0/timestamp", "/events/1/item"]
    assert [one["detail"].partition(": ")[0] for one in told["errors"]] == ["future_time", "unknown_item"]
    assert box.backlog(10) == 0
    send(http, EVENT_1)
    assert http.post("/events", json={"events": [{**EVENT_1, "item": "g9"}]}).status_code == 422, "id_taken"
    assert send(http, EVENT_1)[0]["status"] == "duplicate", "that is no fault"


def test_a_senders_clock_may_be_some_minutes_ahead(http: TestClient):
    assert send(http, {**EVENT_1, "timestamp": time.time() + reception.AHEAD_S - 10})[0]["status"] == "accepted"


def test_an_archives_clock_stands_where_its_data_ends(http: TestClient, service: Service, box: Inbox):
    service.reception._live = False
    told = send(
        http,
        EVENT_1,
        {**EVENT_1, "id": "today", "timestamp": int(time.time())},
        {**EVENT_1, "id": "soon", "timestamp": END + 60},
    )
    assert [one["status"] for one in told] == ["accepted", "refused", "accepted"]
    assert told[1]["reason"] == "future_time"
    assert f"which says {END}" in told[1]["detail"]
    assert box.waiting(EVENT, 1)[0].body["timestamp"] == END


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"events": []}, "/events"),
        ({"events": [EVENT_1] * 501}, "/events"),
        ({}, "/events"),
        ([EVENT_1], ""),
        ({"events": [EVENT_1, {**EVENT_1, "kind": "purchase"}]}, "/events/1/kind"),
        ({"events": [{"kind": "view", "user": "p0", "item": "g8"}]}, "/events/0/id"),
        ({"events": [{"id": "e1", "kind": "view", "item": "g8"}]}, "/events/0/user"),
        ({"events": [{**EVENT_1, "id": "with space"}]}, "/events/0/id"),
        ({"events": [{**EVENT_1, "id": "x" * 129}]}, "/events/0/id"),
        ({"events": [{**EVENT_1, "id": 7}]}, "/events/0/id"),
        ({"events": [{**EVENT_1, "rating": 5}]}, "/events/0/rating"),
        ({"events": [{**EVENT_1, "request_id": "\n"}]}, "/events/0/request_id"),
    ],
)
def test_a_body_that_is_no_list_of_events_is_refused_whole(http: TestClient, box: Inbox, body: Any, pointer: str):
    answer = http.post("/events", json=body)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["errors"][0]["pointer"] == pointer
    assert box.backlog(10) == 0


@pytest.mark.parametrize(
    "text", ['{"events": [', '{"events": [{"id": "e1", "timestamp": ' + "9" * 5000 + "}]}", "\xff"]
)
def test_what_is_no_json_is_refused(http: TestClient, text: str):
    answer = http.post("/events", content=text.encode("latin-1"), headers={"content-type": "application/json"})
    assert answer.status_code in (400, 422)
    assert answer.headers["content-type"] == "application/problem+json"


def test_half_a_surrogate_and_numbers_that_are_none_are_refused(http: TestClient, box: Inbox):
    text = '{"events": [{"id": "a", "kind": "view", "user": "c\\ud83d", "item": "g8"}, '
    text += '{"id": "b", "kind": "view", "user": "p0", "item": "g8", "timestamp": NaN}]}'
    answer = http.post("/events", content=text, headers={"content-type": "application/json"})
    assert answer.status_code == 422, answer.text
    assert [one["detail"].partition(":")[0] for one in answer.json()["errors"]] == ["bad_id", "bad_time"]
    assert box.feedback() == []


def test_a_read_key_may_not_write(http: TestClient):
    read, write = keys.add("reader", "read"), keys.add("writer", "write")
    try:
        for path, body in (
            ("/events", {"events": [EVENT_1]}),
            ("/items", {"items": [LAMP]}),
            ("/users", {"users": [{"id": "x"}]}),
        ):
            assert http.post(path, json=body).status_code == 401
            assert http.post(path, json=body, headers={keys.HEADER: read}).status_code == 403
            assert http.post(path, json=body, headers={keys.HEADER: write}).status_code == 202
    finally:
        for left in keys.path().parent.iterdir():
            left.unlink()


def test_clicks_and_views_are_joined_to_what_was_shown(http: TestClient, service: Service, box: Inbox):
    answer = {"user": "p0", "items": ["g5", "g6", "g7", "g8", "g9"]}
    service.store.keep("page1", {**answer, "k": 3})
    service.store.keep("page2", {**answer, "k": 2, "start": 3})
    service.store.keep("session", {**answer, "user": None, "k": 3})
    service.store.keep("capped", {**answer, "k": 3, "ends": [1, 4, 5]})

    def click(id: str, item: str, request: str | None, user: str = "p0") -> dict[str, Any]:
        return {"id": id, "kind": "click", "user": user, "item": item, "request_id": request}

    told = send(
        http,
        click("a", "g6", "page1"),
        click("b", "g8", "page1"),  # on the next page
        click("c", "g8", "page2"),
        click("d", "g6", "page1", user="p1"),  # who was shown nothing
        click("e", "g5", "session", user="p1"),
        click("f", "g6", "forgotten"),
        click("g", "g6", None),
        click("h", "g6", "capped"),  # a cap has it on the next page
    )
    assert [one["shown"] for one in told] == [True, False, True, False, True, None, None, False]
    assert [one["place"] for one in box.feedback()] == [1, -1, 3, -1, 0, None, None, -1]
    assert box.backlog(10) == 0, "clicks and views change no history"


def test_when_too_much_waits_no_more_is_taken(http: TestClient, box: Inbox, monkeypatch: pytest.MonkeyPatch):
    send(http, EVENT_1, {**EVENT_1, "id": "e2"})
    monkeypatch.setattr(reception, "FULL", 2)
    answer = http.post("/events", json={"events": [{**EVENT_1, "id": "e3"}]})
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert not box.has(EVENT, "e3")


def test_an_item_is_accepted_and_events_may_name_it_at_once(http: TestClient, box: Inbox):
    answer = http.post("/items", json={"items": [LAMP, {"id": 7, "description": "Only words."}]})
    assert answer.status_code == 202, answer.text
    assert answer.json() == {"items": [{"id": "lamp", "status": "accepted"}, {"id": "7", "status": "accepted"}]}
    assert [one.id for one in box.waiting(ITEM, 10)] == ["lamp", "7"]
    assert "lamp" not in vocabulary.rows("shop", "items"), "the writer's work"
    assert send(http, {**EVENT_1, "item": "lamp"})[0]["status"] == "accepted"


def test_the_same_item_again_is_a_duplicate_and_another_under_its_id_a_conflict(http: TestClient, box: Inbox):
    http.post("/items", json={"items": [LAMP]})
    cleaned = {**LAMP, "title": "A\tlamp ", "description": "Other words."}
    assert http.post("/items", json={"items": [cleaned]}).json()["items"][0]["status"] == "duplicate"
    answer = http.post("/items", json={"items": [{"id": "sofa", "title": "A sofa"}, {**LAMP, "brand": "m2"}]})
    assert answer.status_code == 409
    assert [one["pointer"] for one in answer.json()["errors"]] == ["/items/1/id"]
    assert not box.has(ITEM, "sofa"), "all or none"
    twice = http.post("/items", json={"items": [{"id": "desk", "title": "A"}, {"id": "desk", "title": "B"}]})
    assert twice.status_code == 409
    assert not box.has(ITEM, "desk")


def test_an_item_of_the_catalogue_must_say_the_same(http: TestClient, box: Inbox):
    same = {"id": "g3", "title": "Good 3", "brand": "m0"}
    assert http.post("/items", json={"items": [same]}).json() == {"items": [{"id": "g3", "status": "duplicate"}]}
    for other in ({"title": "Good 4"}, {"brand": "m1"}, {"categories": ["Light"]}):
        answer = http.post("/items", json={"items": [LAMP, {**same, **other}]})
        assert answer.status_code == 409
        assert answer.json()["errors"][0]["pointer"] == "/items/1/id"
    assert box.backlog(10) == 0


@pytest.mark.parametrize(
    ("item", "pointer"),
    [
        ({"id": ""}, "/items/1/id"),
        ({"id": True}, "/items/1/id"),
        ({"id": "a\x07"}, "/items/1/id"),
        ({"id": {"x": 1}}, "/items/1/id"),
        ({"title": "", "brand": " ", "categories": ["<b>"], "description": ""}, "/items/1"),
        ({"title": "x" * 1001}, "/items/1/title"),
        ({"categories": ["x"] * 51}, "/items/1/categories"),
        ({"categories": [7]}, "/items/1/categories/0"),
        ({"price": 3}, "/items/1/price"),
    ],
)
def test_what_is_no_item_is_refused_with_its_place(http: TestClient, box: Inbox, item: dict[str, Any], pointer: str):
    answer = http.post("/items", json={"items": [LAMP, {**LAMP, **item}]})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == pointer
    assert box.backlog(10) == 0


def test_users_are_accepted_once(http: TestClient, box: Inbox):
    answer = http.post("/users", json={"users": [{"id": "newcomer"}, {"id": "p0"}, {"id": " newcomer "}]})
    assert [one["status"] for one in answer.json()["users"]] == ["accepted", "duplicate", "duplicate"]
    assert [one.id for one in box.waiting(USER, 10)] == ["newcomer"]
    again = http.post("/users", json={"users": [{"id": "newcomer"}]})
    assert again.json()["users"][0]["status"] == "duplicate"


def test_a_user_without_an_id_is_refused_and_nobody_is_taken(http: TestClient, box: Inbox):
    answer = http.post("/users", json={"users": [{"id": "fine"}, {"id": "\x00"}]})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/users/1/id"
    assert box.backlog(10) == 0


def test_what_is_prepared_anew_is_read_anew(http: TestClient, shop: Path, box: Inbox):
    added.add(WS, [added.item("taken over", "A title", "", [], "")])
    try:
        prepare(WS, source=None, seed=1)
        answer = http.post("/items", json={"items": [{"id": "taken over", "title": "Another"}]})
        assert answer.status_code == 409
    finally:
        added.path("shop").unlink()
        prepare(WS, source=None, seed=1)
    assert box.backlog(10) == 0
