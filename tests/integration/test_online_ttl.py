"""The clock and the TTL of online reads, on a store that Feast has filled."""

import json
import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from core import steps, storage
from core.contracts import DAY, ITEM_DENSE
from core.data import datasets, features, tables
from core.data.prepare import prepare
from core.errors import LlmcfError, UsageError
from core.settings import Workspace
from llmcf.feature_store import jobs, registry
from llmcf.online import staleness
from llmcf.online.reader import ITEM, USER, OnlineFeatures
from tests import official_files

pytestmark = pytest.mark.integration
NOW = 1_000_000_000


@pytest.fixture(scope="module")
def ws(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("ttl")
        patch.setenv("LLMCF_HOME", str(home))
        patch.delenv("LLMCF_REDIS", raising=False)
        made = Workspace("movielens-100k", "published")
        prepare(made, source=official_files.write(home / "source", users=12, items=40, seed=1), seed=7)
        features.build(made)
        jobs.apply(made)
        jobs.materialize(made)
        yield made


def until(ws: Workspace) -> float:
    return registry.marker(ws, registry.MATERIALIZED)[registry.UNTIL]


def later(ws: Workspace, days: int) -> datetime:
    return datetime.fromtimestamp(until(ws), UTC) + timedelta(days=days)


def test_an_archives_clock_stands_where_its_states_end(ws):
    last = max(tables.interactions(ws)["day"].to_pylist())
    assert until(ws) == (last + 1) * 86_400  # when the last item states begin
    online = OnlineFeatures(ws)
    assert all(online.user(user) for user in tables.users(ws)["user"].to_pylist())
    assert online.stale == {}


def test_a_live_data_set_is_read_by_the_wall_clock(ws, monkeypatch):
    monkeypatch.setattr(datasets, "find", lambda name: SimpleNamespace(live=True))
    online = OnlineFeatures(ws)
    monkeypatch.setattr(datasets, "find", lambda name: pytest.fail("looked up in a request"))
    assert online.today() == int(time.time()) // DAY
    assert online.user(2) is None  # states of the nineties
    assert online.stale == {"user_history": 1}


def test_a_stale_user_is_a_stranger_and_is_counted(ws, capsys):
    online = OnlineFeatures(ws, now=later(ws, 3_700))
    assert online.read(USER, [2]).stale == {"user_history": 1}
    assert online.user(3) is None
    assert online.stale == {"user_history": 2}
    assert capsys.readouterr().err.count("user_history are older than its TTL") == 1


def test_a_stale_item_loses_what_is_stale_and_keeps_the_rest(ws):
    staleness.watch()
    online = OnlineFeatures(ws, now=later(ws, 31))  # what a view's tag allows online
    fresh = OnlineFeatures(ws, now=later(ws, 0)).items([2, 3])
    for row, usable in zip(online.items([2, 3]), fresh, strict=True):
        assert row
        assert usable
        assert row == usable | dict.fromkeys((*ITEM_DENSE, "first_day", "neighbours", "neighbour_counts"))
        assert usable["popularity"] is not None
    assert staleness.seen() == ["item_neighbours", "item_popularity"], "of this thread"
    assert online.read(ITEM, [2]).stale == {"item_popularity": 1, "item_neighbours": 1}
    assert online.stale == {"item_popularity": 3, "item_neighbours": 3}


def test_nothing_is_stale_within_the_ttl(ws):
    online = OnlineFeatures(ws, now=later(ws, 29))
    assert online.user(2)
    assert all(online.items(tables.offered(ws).tolist()))
    assert online.stale == {}


def test_a_time_without_zone_is_refused(ws):
    with pytest.raises(UsageError, match="has no zone"):
        OnlineFeatures(ws, now=datetime(2026, 1, 1))


def test_a_push_moves_the_clock_of_an_open_reader(ws):
    online = OnlineFeatures(ws)
    user = tables.users(ws)["raw_id"][0].as_py()
    jobs.push(ws, [json.dumps({"user": user, "item": "3", "timestamp": 900_000_000})], now=NOW)
    assert until(ws) == 900_000_000
    row = tables.items(ws)["raw_id"].to_pylist().index("3") + 2
    state = online.user(2)
    assert state
    assert state["history"][-1] == row
    ws.path("feast", registry.MATERIALIZED).unlink()
    assert online.user(2) == state  # a release that is being replaced: the old one answers
    jobs.materialize(ws)
    assert until(ws) == 900_000_000
    assert online.user(2) == state


def test_a_store_of_an_older_version_names_the_remedy(ws):
    path = ws.path("feast", registry.MATERIALIZED)
    kept = path.read_text()
    storage.write_json(path, {key: value for key, value in json.loads(kept).items() if key != registry.UNTIL})
    with pytest.raises(LlmcfError, match="features materialize"):
        OnlineFeatures(ws)
    assert not jobs.materialize(ws).skipped
    assert json.loads(path.read_text()) == json.loads(kept)


def test_another_release_empties_the_cache(ws):
    online = OnlineFeatures(ws)
    before = online.items([2])[0]
    assert before
    table = ws.path("features", "item_attributes.parquet")
    rows = storage.read_table(table, features.ITEM_ATTRIBUTES, "")
    titles = [f"new {title}" for title in rows["title"].to_pylist()]
    storage.write_table(table, rows.set_column(2, "title", [titles]), features.ITEM_ATTRIBUTES)
    stamp = storage.read_json(ws.path("features", steps.STAMP))
    changed = stamp | {"content": "0" * 64, "outputs": stamp["outputs"] | {table.name: table.stat().st_size}}
    storage.write_json(ws.path("features", steps.STAMP), changed)
    jobs.apply(ws)
    assert online.items([2])[0] == before
    jobs.materialize(ws)
    after = online.items([2])[0]
    assert after == before | {"title": f"new {before['title']}"}
