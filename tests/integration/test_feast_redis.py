"""Feast on a real Redis: the same answers as on SQLite, safe pushes, nothing left behind."""

import json
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from redis import Redis

from core import steps, storage
from core.data import features, tables
from core.data.prepare import prepare
from core.settings import Workspace
from llmcf.feature_store import jobs, redis_address, registry
from llmcf.feature_store.opening import open_store
from llmcf.online.reader import OnlineFeatures
from llmcf.online.views import views
from tests import official_files
from tests.feasts_own import references
from tests.redis_server import RedisServer

pytestmark = pytest.mark.integration

WS = Workspace("movielens-100k", "published")
NOW = 1_000_000_000
LATER = 900_000_000  # after the data's last day
FOREIGN = b"someone else's"


def filled(home: Path, patch: pytest.MonkeyPatch, connection: str | None) -> None:
    """The workspace in `home`, applied and materialized."""
    patch.setenv("LLMCF_HOME", str(home))
    if connection:
        patch.setenv("LLMCF_REDIS", connection)
    else:
        patch.delenv("LLMCF_REDIS", raising=False)
    prepare(WS, source=official_files.write(home / "source", users=12, items=40, seed=1), seed=7)
    features.build(WS)
    jobs.apply(WS)
    jobs.materialize(WS)


def answers() -> tuple[list[Any], list[Any]]:
    """What our reader says about every user and item, and about ids that nobody has."""
    online = OnlineFeatures(WS)
    users, items = tables.users(WS)["user"].to_pylist(), tables.items(WS)["item"].to_pylist()
    return [online.user(user) for user in [*users, 9_999]], online.items([*items, 9_999])


def feasts_answers(service: str, key: str, ids: list[int]) -> list[dict[str, Any]]:
    """What Feast's own reader says; on-demand views, which need more than an id, are not asked for."""
    store = open_store(WS.path("feast"))
    rows = [{key: one} for one in ids]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of stores that are not ours
        found = store.get_online_features(features=references(views(store, service)), entity_rows=rows).to_dict()
    return [{name: found[name][place] for name in found if name != key} for place in range(len(ids))]


@pytest.fixture(scope="module")
def sqlite_answers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[list[Any], list[Any]]]:
    with pytest.MonkeyPatch.context() as patch:
        filled(tmp_path_factory.mktemp("sqlite"), patch, None)
        found = answers()
        users, items = tables.users(WS)["user"].to_pylist(), tables.items(WS)["item"].to_pylist()
        assert found[0][:-1] == feasts_answers("user_request", "user", users)
        assert found[1][:-1] == feasts_answers("item_request", "item", items)
        yield found


@pytest.fixture(scope="module")
def ws(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    with pytest.MonkeyPatch.context() as patch, redis_address.client(redis_server.connection) as client:
        client.set(FOREIGN, b"stays")
        filled(tmp_path_factory.mktemp("redis"), patch, redis_server.connection)
        yield WS


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[Redis]:
    with redis_address.client(redis_server.connection) as asked:
        yield asked


def event(user: str, item: str, timestamp: int) -> str:
    return json.dumps({"user": user, "item": item, "timestamp": timestamp})


def test_redis_answers_what_sqlite_and_feast_answer(sqlite_answers, ws):
    found = answers()
    assert found == sqlite_answers
    assert found[0][-1] is None
    assert found[1][-1] is None
    users, items = tables.users(ws)["user"].to_pylist(), tables.items(ws)["item"].to_pylist()
    assert found[0][:-1] == feasts_answers("user_request", "user", users)
    assert found[1][:-1] == feasts_answers("item_request", "item", items)


def test_threads_share_a_reader(ws):
    online = OnlineFeatures(ws)
    users, items = tables.users(ws)["user"].to_pylist(), tables.items(ws)["item"].to_pylist()
    expected = [online.user(user) for user in users], online.items(items)
    online.forget()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: ([online.user(user) for user in users], online.items(items)), range(40)))
    assert all(answer == expected for answer in found)


def test_no_file_of_the_workspace_holds_the_credential(ws, redis_server):
    files = [path for path in ws.root.rglob("*") if path.is_file()]
    assert len(files) > 10
    assert not [path for path in files if redis_server.password.encode() in path.read_bytes()]


def test_a_push_may_be_repeated_and_come_out_of_order(ws):
    raw = tables.users(ws)["raw_id"].to_pylist()[0]
    row = {name: place for place, name in enumerate(tables.items(ws)["raw_id"].to_pylist(), start=2)}
    lines = [event(raw, "3", LATER), event(raw, "4", LATER + 1)]  # one day: the states differ by a millisecond
    assert jobs.push(ws, lines, now=NOW).details["accepted"] == 2
    online = OnlineFeatures(ws)
    after = online.user(2)
    assert after
    assert after["history"][-2:] == [row["3"], row["4"]]
    again = jobs.push(ws, [*reversed(lines), event(raw, "5", LATER - 9)], now=NOW).details
    assert (again["accepted"], again["out_of_order"], again["left_out"]["duplicate"]) == (1, 1, 2)
    inserted = online.user(2)
    assert inserted
    assert inserted["history"][-3:] == [row["5"], row["3"], row["4"]]
    jobs.push(ws, [event(raw, "6", LATER + 2)], now=NOW)  # newer by a millisecond of state time
    newest = online.user(2)
    assert newest
    assert newest["history"][-3:] == [row["3"], row["4"], row["6"]]


def test_an_older_state_does_not_overwrite_a_newer_one(ws, tmp_path):
    online = OnlineFeatures(ws)
    before = online.user(3)
    states = pq.read_table(ws.path("features", "user_history.parquet"))
    older = states.filter([user == 3 for user in states["user"].to_pylist()]).slice(0, 1)
    pq.write_table(older, tmp_path / "older.parquet")
    registry.run(ws, "push", "interactions", str(tmp_path / "older.parquet"))
    assert online.user(3) == before


def test_a_changed_release_leaves_no_key_of_the_old_one(ws, client):
    old = registry.marker(ws, registry.APPLIED)["project"]
    online = OnlineFeatures(ws)
    expected = online.items([2, 3])
    others = set(client.scan_iter()) - set(keys_of(client, old))
    assert keys_of(client, old)
    assert FOREIGN in others
    stamp = storage.read_json(ws.path("features", steps.STAMP))
    storage.write_json(ws.path("features", steps.STAMP), stamp | {"content": "0" * 64})
    new = jobs.apply(ws).details["project"]
    assert new != old
    assert keys_of(client, old)
    assert OnlineFeatures(ws).items([2, 3]) == expected, "a service that starts only now reads the old one as well"
    jobs.materialize(ws)
    assert not keys_of(client, old)
    people, things = tables.users(ws).num_rows, tables.items(ws).num_rows
    assert len(keys_of(client, new)) == people + things
    assert set(client.scan_iter()) == {*keys_of(client, new), *others}
    assert online.items([2, 3]) == expected  # an open reader follows to the new project


def test_another_password_is_not_another_store(ws, redis_server, monkeypatch):
    before = registry.release(ws)
    monkeypatch.setenv("LLMCF_REDIS", redis_server.connection.replace("password=", "username=default,password="))
    assert registry.release(ws) == before


def keys_of(client: Redis, project: str) -> set[bytes]:
    return {key for key in client.scan_iter() if key.endswith(project.encode())}
