"""A new version out of the one before it: only what has changed is written, and what was is not touched."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.errors import LlmcfError
from core.settings import Workspace
from ict import milvus
from ict.milvus import lite
from ict.milvus.records import DIGEST

pytestmark = pytest.mark.integration

WIDTH = 8


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path))
    return Workspace("movielens-100k", "shuffled-ties")


def day(number: int, index: str = "FLAT") -> milvus.Records:
    """The rows as of a day: a few new ones among the old, one changed, two gone."""
    generator = np.random.default_rng(0)
    ids = np.arange(1, 601) * 10
    vectors = generator.normal(size=(600, WIDTH)).astype(np.float32)
    texts = [f"text {one}" for one in ids]
    if number:
        new = np.array([5, 3005, 9005])
        ids, order = np.unique(np.concatenate([ids, new]), return_index=True)
        vectors = np.concatenate([vectors, generator.normal(size=(3, WIDTH)).astype(np.float32)])[order]
        texts = [*texts, "new", "new", "new"]
        texts = [texts[at] for at in order]
        texts[7] = "changed"
        stay = np.delete(np.arange(len(ids)), [100, 200])
        ids, vectors, texts = ids[stay], vectors[stay], [texts[at] for at in stay]
    return milvus.Records(
        ids=ids, vectors={"vector": vectors}, scalars={"text": texts}, index=milvus.IndexConfig(kind=index)
    )


def written(monkeypatch: pytest.MonkeyPatch, client: Any) -> dict[str, int]:
    """How many rows each call takes from now on."""
    told = {"insert": 0, "upsert": 0, "delete": 0}

    def watch(name: str) -> None:
        call = getattr(client, name)

        def counted(collection: str, rows: Any = (), ids: Any = ()) -> Any:
            told[name] += len(rows) + len(ids)
            return call(collection, ids=ids) if name == "delete" else call(collection, rows)

        monkeypatch.setattr(client, name, counted)

    for name in told:
        watch(name)
    return told


@pytest.mark.parametrize("index", ["FLAT", "HNSW", "IVF_FLAT"])
def test_only_what_has_changed_is_written(ws: Workspace, monkeypatch: pytest.MonkeyPatch, index: str) -> None:
    with milvus.connect(ws) as client:
        first = milvus.publish(client, ws, "cot", day(0, index))
        told = written(monkeypatch, client)
        second = milvus.publish(client, ws, "cot", day(1, index))
        assert told == {"insert": 0, "upsert": 4, "delete": 2}
        changes = milvus.account_of(client, second)["changes"]
        assert changes == {"since": first, "same": 597, "new": 3, "changed": 1, "gone": 2, "copied": True}
        old, new = (milvus.Collection.open(client, name).read(["text", "vector"]) for name in (first, second))
    assert old["id"].tolist() == day(0).ids.tolist(), "the version before is as it was"
    assert new["id"].tolist() == day(1).ids.tolist()
    assert new["text"].tolist() == day(1).scalars["text"]
    np.testing.assert_allclose(new["vector"], day(1).vectors["vector"], rtol=1e-6)
    with milvus.connect(ws) as client:  # read from its files again
        collection = milvus.open_live(client, ws, "cot", "llmcf cot index")
        queries = day(1).vectors["vector"][[0, 250, -1]]
        wanted, _ = day(1).exact("vector").search(queries, 1)
        assert collection.search(queries, 1, vector="vector")[0].tolist() == wanted.tolist()
        assert collection.count == 601


@pytest.mark.parametrize(
    "other",
    [
        {"index": milvus.IndexConfig(kind="HNSW")},
        {"vectors": {"vector": np.random.default_rng(1).normal(size=(601, 16)).astype(np.float32)}},
        {"scalars": {"words": [str(one) for one in range(601)]}},
    ],
)
def test_what_is_laid_out_otherwise_is_written_whole(ws: Workspace, other: dict[str, Any]) -> None:
    with milvus.connect(ws) as client:
        first = milvus.publish(client, ws, "cot", day(0))
        second = milvus.publish(client, ws, "cot", replace(day(1), **other))
        changes = milvus.account_of(client, second)["changes"]
    assert changes == {"since": first, "same": 0, "new": 601, "changed": 0, "gone": 0, "copied": False}


def test_other_vectors_for_most_rows_are_written_whole(ws: Workspace) -> None:
    with milvus.connect(ws) as client:
        first = milvus.publish(client, ws, "cot", day(0))
        moved = {"vector": -day(1).vectors["vector"]}
        second = milvus.publish(client, ws, "cot", replace(day(1), vectors=moved))
        changes = milvus.account_of(client, second)["changes"]
    assert changes == {"since": first, "same": 0, "new": 3, "changed": 598, "gone": 2, "copied": False}


def test_a_copy_that_is_not_what_it_should_be_does_not_go_live(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row that was lost on the way is found by its digest, whatever the counts say."""
    with milvus.connect(ws) as client:
        first = milvus.publish(client, ws, "cot", day(0))
        upsert = client.upsert
        monkeypatch.setattr(client, "upsert", lambda name, rows: upsert(name, [row | {DIGEST: 1} for row in rows]))
        with pytest.raises(LlmcfError, match="does not hold the rows that it was to be changed to"):
            milvus.publish(client, ws, "cot", day(1))
        assert milvus.live_version(client, ws, "cot") == first
        assert milvus.names(client) == {first}


@pytest.mark.parametrize("left", [True, False], ids=["some files", "a folder"])
def test_a_copy_that_was_killed_is_begun_anew(ws: Workspace, monkeypatch: pytest.MonkeyPatch, left: bool) -> None:
    """A kill runs no `finally`: its snapshot stays, and the folder as far as it came."""
    with milvus.connect(ws) as client:
        milvus.publish(client, ws, "cot", day(0))
        database, path = lite._OWN[client]

        def killed(source: str, snapshot: str, target: str) -> None:
            folder = path / lite._COLLECTIONS / target
            if left:
                whole(source, snapshot, target)
            else:
                folder.mkdir()
            raise SystemExit(137)

        whole = database.restore_snapshot
        with monkeypatch.context() as patch, pytest.raises(SystemExit):
            patch.setattr(database, "restore_snapshot", killed)
            patch.setattr(database, "drop_snapshot", lambda *_: None)
            milvus.publish(client, ws, "cot", day(1))
        assert len(database.list_snapshots(str(milvus.live_version(client, ws, "cot")))) == 1
    with milvus.connect(ws) as client:
        second = milvus.publish(client, ws, "cot", day(1))
        assert milvus.account_of(client, second)["changes"]["copied"]
        assert milvus.Collection.open(client, second).read(["text"])["text"].tolist() == day(1).scalars["text"]
        database, _ = lite._OWN[client]
        assert [database.list_snapshots(name) for name in database.list_collections()] == [[], []]


def test_a_server_writes_a_version_whole_and_says_what_was_the_same(ws: Workspace, each_milvus: str) -> None:
    with milvus.connect(ws) as client:
        assert lite.can_copy(client) is (each_milvus == "lite")
        milvus.publish(client, ws, "cot", day(0))
        second = milvus.publish(client, ws, "cot", day(1))
        changes = milvus.account_of(client, second)["changes"]
        assert (changes["same"], changes["copied"]) == (597, each_milvus == "lite")
        assert milvus.Collection.open(client, second).read(["text"])["text"].tolist() == day(1).scalars["text"]


def test_a_day_is_a_copy_of_the_newest_earlier_day_that_milvus_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LLMCF_MILVUS_URI", str(tmp_path / "shared.db"))

    def published(home: str, as_of: str, number: int) -> dict[str, Any]:
        monkeypatch.setenv("LLMCF_HOME", str(tmp_path / home))
        ws = Workspace("movielens-100k", "shuffled-ties", as_of)
        with milvus.connect(ws) as client:
            name = milvus.publish(client, ws, "cot", day(number))
            return {"name": name, **milvus.account_of(client, name)["changes"]}

    third = published("home", "2026-01-03", 0)
    assert third["since"] is None
    second = published("home", "2026-01-02", 1)
    assert second["since"] is None, "a later day may know more"
    fourth = published("home", "2026-01-04", 1)
    assert (fourth["since"], fourth["new"], fourth["copied"]) == (third["name"], 3, True)
    assert published("another", "2026-01-05", 1)["since"] is None, "of another home"
    assert published("home", "latest", 1)["since"] == fourth["name"]
