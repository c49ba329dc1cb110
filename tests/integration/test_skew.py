"""Served features are what the training join would have made of the same moment; a planted skew is caught."""

import shutil
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.contracts import DENSE
from core.data import features, tables
from core.errors import LlmcfError
from core.settings import Workspace
from llmcf import skew
from llmcf.feature_store import jobs
from llmcf.online.reader import OnlineFeatures
from llmcf.service import served_log, state
from llmcf.service.served_log import ServedLog
from llmcf.serving.question import Person, Ranking
from tests.synthetic_release import write_release

pytestmark = pytest.mark.integration
SHOWN = 6


@pytest.fixture(scope="module")
def ws(own: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMCF_TRITON_MODELS", str(tmp_path_factory.mktemp("models")))
        features.build(own)
        jobs.apply(own)
        jobs.materialize(own)
        write_release(own)
        yield own


def serve(ws: Workspace, users: list[int], name: str, *, reads_dense: bool = True) -> None:
    """As a worker would: what the store says of some users and items, into the sample."""
    reader, log = OnlineFeatures(ws), ServedLog(state.folder(ws.dataset), share=1.0)
    items = np.sort(np.random.default_rng(len(name)).choice(tables.items(ws)["item"].to_numpy(), SHOWN, replace=False))
    for user in users:
        found = reader.user(user)
        assert found is not None
        person = Person(row=user, user=user, history_L=np.array(found["history"]), state=found)
        dense_CX = reader.dense(found, items.tolist(), reader.today())
        ranked = Ranking(person=person, item_C=items, score_C=np.zeros(SHOWN), dense_CX=dense_CX)
        log.offer(f"{name}-{user}", 1, reader.today(), ranked, reads_dense=reads_dense)
    log.close()


def test_what_is_served_is_what_it_is_offline_before_and_after_a_push(ws: Workspace) -> None:
    with pytest.raises(LlmcfError, match="nothing was sampled"):
        skew.skew(ws.dataset)
    users = tables.users(ws)["user"].to_pylist()[:8]
    serve(ws, users, "before")
    found = skew.skew(ws.dataset).details
    assert (found["rows"], found["violations"], found["left_out"]) == (8 * SHOWN, 0, 0)
    raw, items = tables.users(ws)["raw_id"].to_pylist()[:2], tables.items(ws)["raw_id"].to_pylist()
    newest = int(tables.interactions(ws)["timestamp"].to_numpy().max())
    lines = [f'{{"user": "{who}", "item": "{items[n]}", "timestamp": {newest + n}}}' for n, who in enumerate(raw, 1)]
    assert jobs.push(ws, lines, now=newest + 10).details["accepted"] == 2
    serve(ws, users, "after")
    found = skew.skew(ws.dataset).details
    assert (found["rows"], found["violations"]) == (16 * SHOWN, 0)
    values = found["values"]
    serve(ws, users, "strict", reads_dense=False)
    found = skew.skew(ws.dataset).details
    assert (found["rows"], found["values"], found["violations"]) == (24 * SHOWN, values + 8 * SHOWN, 0)


def test_an_event_that_comes_after_a_newer_one_that_was_served_is_no_skew(ws: Workspace) -> None:
    (user, raw), items = (tables.users(ws)[name][3].as_py() for name in ("user", "raw_id")), tables.items(ws)
    newest = int(tables.interactions(ws)["timestamp"].to_numpy().max())
    push = '{"user": "%s", "item": "%s", "timestamp": %d}'
    before = skew.skew(ws.dataset).details
    for after, at in ((200, "newer"), (100, "older")):
        line = push % (raw, items["raw_id"][after % 7].as_py(), newest + after)
        assert jobs.push(ws, [line], now=newest + 1000).details["accepted"] == 1
        serve(ws, [user], at)
    found = skew.skew(ws.dataset).details
    assert found["violations"] == 0
    assert (found["rows"], found["left_out"]) == (before["rows"] + SHOWN, before["left_out"] + SHOWN)


@pytest.mark.parametrize(
    ("feature", "reads_dense"),
    [("history", True), ("history", False), ("popularity_30d", True), ("recency", True), ("cooccurrence", True)],
)
def test_a_planted_skew_is_caught_and_named(ws: Workspace, feature: str, reads_dense: bool) -> None:
    serve(ws, tables.users(ws)["user"].to_pylist()[4:6], "planted", reads_dense=reads_dense)
    folder = served_log.folder(state.folder(ws.dataset))
    newest = max(folder.glob("*.parquet"))
    kept = pq.read_table(newest, schema=served_log.SCHEMA).to_pylist()
    if feature == "history":
        kept[0]["history"] = [*kept[0]["history"][1:], 2]
    else:
        kept[0]["dense"][[str(name) for name in DENSE].index(feature)] += 0.25
    pq.write_table(pa.Table.from_pylist(kept, schema=served_log.SCHEMA), newest)
    found = skew.skew(ws.dataset)
    assert {name: count for name, count in found.details["skewed"].items() if count} == {feature: 1}
    with pytest.raises(LlmcfError, match=f"1 served values are not what they are offline, of {feature}"):
        skew.require_none(found)
    newest.unlink()


def test_what_belongs_to_a_release_that_is_gone_is_left_out(ws: Workspace) -> None:
    serve(ws, tables.users(ws)["user"].to_pylist()[:1], "gone")
    folder = served_log.folder(state.folder(ws.dataset))
    newest = max(folder.glob("*.parquet"))
    kept = pq.read_table(newest, schema=served_log.SCHEMA)
    before = skew.skew(ws.dataset).details
    other = kept.set_column(2, "release", pa.array(np.full(kept.num_rows, 99)))
    pq.write_table(other.cast(served_log.SCHEMA), newest)
    after = skew.skew(ws.dataset).details
    assert after["left_out"] == before["left_out"] + SHOWN
    shutil.rmtree(folder)
