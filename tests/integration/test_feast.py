"""Feast on DuckDB and SQLite, through its own processes: join, materialize, push, online reads."""

import json
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core import schemas
from core.contracts import DENSE, HISTORY
from core.data import asof, features, tables, vocabulary
from core.data.prepare import prepare
from core.errors import LlmcfError, UsageError
from core.settings import Workspace
from llmcf.feature_store import jobs, ledger, registry
from llmcf.feature_store.opening import open_store
from llmcf.online.reader import OnlineFeatures
from tests import official_files

pytestmark = pytest.mark.integration

NOW = 1_000_000_000
LATER = 900_000_000  # after the data's last day


@pytest.fixture(scope="module")
def applied(own, tmp_path_factory) -> Workspace:
    ws = Workspace("movielens-100k", "published")
    prepare(ws, source=official_files.write(tmp_path_factory.mktemp("feast"), users=12, items=40, seed=1), seed=7)
    features.build(ws)
    jobs.apply(ws)
    return ws


@pytest.fixture(scope="module")
def filled(applied) -> Workspace:
    jobs.materialize(applied)
    return applied


def event(user: str, item: str, timestamp: int) -> str:
    return json.dumps({"user": user, "item": item, "timestamp": timestamp})


def test_a_join_before_apply_names_the_remedy(tiny):
    with pytest.raises(LlmcfError, match="llmcf features apply --dataset movielens-100k --order shuffled-ties"):
        jobs.join(tiny)


def test_feast_joins_what_the_reference_says(applied):
    done = jobs.join(applied)
    expected = asof.attach(tables.rows(applied), tables.interactions(applied), tables.items(applied))
    assert not done.skipped
    assert asof.differences(tables.training_rows(applied), expected) == {}
    assert jobs.join(applied).skipped


def test_a_join_that_breaks_the_leak_rule_is_refused(applied, monkeypatch):
    """A store that answers with states one position too late."""

    def leaky(ws, job, service, entities, joined):
        expected = asof.attach(tables.rows(ws), tables.interactions(ws), tables.items(ws))
        late = np.log1p(expected["position"].to_numpy() + 1).astype(np.float32)
        pq.write_table(expected.set_column(expected.schema.get_field_index("activity"), "activity", [late]), joined)

    monkeypatch.setattr(registry, "run", leaky)
    monkeypatch.setattr(jobs.steps.Step, "current", lambda self: None)
    before = tables.training_rows(applied)
    with pytest.raises(
        LlmcfError, match=f"the joined activity is wrong on {before.num_rows} of {before.num_rows} rows"
    ):
        jobs.join(applied)
    assert tables.training_rows(applied).equals(before)


def test_apply_and_materialize_are_skipped_when_nothing_changed(filled):
    start = time.monotonic()
    assert jobs.apply(filled).skipped
    assert jobs.materialize(filled).skipped
    assert time.monotonic() - start < 1


def test_online_states_are_the_newest(filled):
    online = OnlineFeatures(filled)
    interactions = tables.interactions(filled).to_pylist()
    for user in sorted({row["user"] for row in interactions}):  # others are known, and have done nothing here
        taken = [row["item"] for row in interactions if row["user"] == user]
        state = online.user(user)
        assert state and state["history"] == ([0] * HISTORY + taken)[-HISTORY:]
        assert state["activity"] == pytest.approx(np.log1p(len(taken)))
        assert "years old" in state["profile"]
    counts = np.bincount([row["item"] for row in interactions])
    items = tables.items(filled)
    items = items.filter(items["offered"])
    for item, state in zip(items.to_pylist(), online.items(items["item"].to_pylist()), strict=True):
        assert state and state["title"] == item["title"]
        assert state["popularity"] == pytest.approx(np.log1p(counts[item["item"]]))
    assert online.user(10_000) is None
    assert online.items([10_000]) == [None]
    recent = [state["popularity_30d"] for state in online.items(online.popular(5)) if state]
    assert recent == sorted(recent, reverse=True)


def test_the_code_that_serves_is_the_code_that_trains(filled):
    """Feast's own online answer with its on-demand view, our reader's, and the as-of reference agree."""
    online = OnlineFeatures(filled)
    day, items = online.today(), tables.offered(filled).tolist()
    user = tables.interactions(filled)["user"].to_pylist()[-1]
    store = open_store(filled.path("feast"))
    rows = [{"user": user, "item": item, "day": day} for item in items]
    plain = store.get_online_features(features=store.get_feature_service("ranking"), entity_rows=rows).to_dict()
    state = online.user(user)
    assert state
    ours = online.dense(state, items, day)
    np.testing.assert_allclose(ours, np.array([plain[name] for name in DENSE]).T, rtol=1e-6)

    interactions = tables.interactions(filled)
    taken = int((interactions["user"].to_numpy() == user).sum())
    request = pa.table({"row": [0], "split": ["test"], "user": [user], "item": [0], "label": [1], "position": [taken],
                        "timestamp": [0], "day": [day], "draw": [0]})  # fmt: skip
    moments = pa.concat_tables([request.set_column(3, "item", pa.array([item])) for item in items])
    closed = pa.concat_tables([interactions, closing_event(interactions, user, taken, day)]).sort_by(
        [("user", "ascending"), ("position", "ascending")]
    )
    reference = asof.attach(moments.cast(schemas.ROWS), closed, tables.items(filled))
    for column, name in enumerate(DENSE):
        np.testing.assert_allclose(ours[:, column], reference[name].to_numpy(), rtol=1e-4, atol=1e-5, err_msg=name)


def closing_event(interactions: pa.Table, user: int, position: int, day: int) -> pa.Table:
    """An interaction at the moment of the request, which no feature of the request may see."""
    values = {
        "user": [user],
        "item": [2],
        "position": [position],
        "timestamp": [day * 86_400],
        "day": [day],
        "rating": [None],
    }
    return pa.table(values).cast(interactions.schema)


def test_a_push_reaches_the_online_store_and_survives_materialize(filled):
    user, other = tables.users(filled)["raw_id"].to_pylist()[:2]
    lines = [event(user, "3", LATER), event(user, "4", LATER + 1), event(other, "5", NOW + 5)]
    done = jobs.push(filled, lines, now=NOW)
    assert done.details["accepted"] == 2
    assert done.details["left_out"]["future"] == 1
    row = {raw: place for place, raw in enumerate(tables.items(filled)["raw_id"].to_pylist(), start=2)}
    pushed = [row["3"], row["4"]]
    assert history(filled, 2)[-2:] == pushed
    assert jobs.materialize(filled).skipped  # the push has kept the account

    filled.path("feast", registry.MATERIALIZED).unlink()
    jobs.materialize(filled)
    assert history(filled, 2)[-2:] == pushed


def test_a_new_user_and_a_new_item_are_online_at_once(filled):
    lines = [event("a newcomer", "3", LATER + 60), event("a newcomer", "a novelty", LATER + 120)]
    done = jobs.push(filled, lines, now=NOW).details
    assert (done["new_users"], done["new_items"], done["accepted"]) == (1, 1, 2)
    rows = {kind: vocabulary.rows(filled.dataset, kind) for kind in ("users", "items")}
    state = OnlineFeatures(filled).user(rows["users"]["a newcomer"])
    assert state is not None
    assert state["history"][-2:] == [rows["items"]["3"], rows["items"]["a novelty"]]
    assert state["activity"] == pytest.approx(np.log1p(2))


def test_a_repeated_push_writes_the_same_states_again(filled, monkeypatch):
    """A push that was killed before its states were online is mended by sending it again."""
    sent = []
    monkeypatch.setattr(registry, "run", lambda ws, *job, folder: sent.append(pq.read_table(job[2]).to_pylist()))
    user = tables.users(filled)["raw_id"][2].as_py()
    lines = [event(user, "3", LATER), event(user, "4", LATER + 1)]
    first, again = (jobs.push(filled, lines, now=NOW).details for _ in range(2))
    assert (first["accepted"], again["accepted"], again["left_out"]["duplicate"]) == (2, 0, 2)
    assert sent[0] == sent[1]
    assert [state["user"] for state in sent[0]] == [4]  # the newest state only


def test_a_push_between_apply_and_materialize_is_read_at_once(tmp_path, monkeypatch):
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path / "home"))
    ws = Workspace("movielens-100k", "shuffled-ties")
    for seed in (1, 2):  # other data, and so another release of the features
        prepare(ws, source=official_files.write(tmp_path / str(seed), users=12, items=40, seed=seed), seed=7)
        features.build(ws)
        jobs.apply(ws)
        if seed == 1:
            jobs.materialize(ws)
    online, user = OnlineFeatures(ws), tables.users(ws)["raw_id"][0].as_py()
    jobs.push(ws, [event(user, "3", LATER)], now=NOW)
    pushed = vocabulary.rows(ws.dataset, "items")["3"]
    assert history(ws, 2)[-1] == pushed
    state = online.user(2)
    assert state and state["history"][-1] == pushed
    jobs.materialize(ws)
    state = online.user(2)
    assert state and state["history"] == history(ws, 2)
    assert history(ws, 2)[-1] == pushed


def test_a_push_of_something_else_takes_nothing(filled):
    before = ledger.events(filled)
    with pytest.raises(UsageError, match="line 2"):
        jobs.push(filled, [event("1", "2", LATER), "{"], now=NOW)
    assert ledger.events(filled) == before


def test_a_failed_job_says_why(applied):
    with pytest.raises(LlmcfError, match=r"(?s)Feast's nonsense failed:.*KeyError: 'nonsense'"):
        registry.run(applied, "nonsense")


def test_an_empty_online_store_names_the_remedy(tiny):
    with pytest.raises(LlmcfError, match="features materialize"):
        OnlineFeatures(tiny)


def history(ws: Workspace, user: int) -> list[int]:
    state = OnlineFeatures(ws).user(user)
    assert state
    return state["history"]
