"""Publishing collections: versions, verification, the alias flip, and a file that somebody else holds."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.errors import LlmcfError, UsageError
from core.settings import Workspace
from ict import milvus
from ict.filters import Filter
from ict.milvus import building, connection, lite

pytestmark = pytest.mark.integration

HOLDER = """
import sys, time
from pymilvus import MilvusClient
client = MilvusClient(sys.argv[1])
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path))
    return Workspace("movielens-100k", "shuffled-ties")


@pytest.fixture
def each(each_milvus: str, ws: Workspace) -> Workspace:
    """The workspace on Milvus Lite and on a Milvus server."""
    return ws


def some_records(count: int, seed: int = 0, width: int = 8, **more: Any) -> milvus.Records:
    vectors = np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)
    return milvus.Records(
        ids=np.arange(1, count + 1),
        vectors={"vector": vectors},
        scalars={"day": np.arange(count), "text": ["é" * 6000] * count},
        **more,
    )


def own(client: Any, ws: Workspace) -> set[str]:
    """What lies in Milvus of this home: other tests share the server."""
    return {name for name in milvus.names(client) if name.startswith(milvus.alias(ws, "items"))}


def test_versions_alias_and_reading_back(each: Workspace, capfd: pytest.CaptureFixture[str]) -> None:
    with milvus.connect(each) as client:
        assert milvus.live_version(client, each, "items") is None
        names = [milvus.publish(client, each, "items", some_records(count)) for count in (5, 6, 2300)]
        assert [milvus.number(name) for name in names] == [1, 2, 3]
        assert milvus.versions(client, each, "items") == names, "whoever reads an old one goes on"
        assert milvus.drop_versions(client, each, "items", keep=[]) == names[:1]
        assert milvus.versions(client, each, "items") == names[1:], "the live one and the way back"
    with milvus.connect(each) as client:  # reopened: nothing is loaded
        live = milvus.open_live(client, each, "items", "llmcf export")
        assert (live.name, live.count) == (names[-1], 2300)
        columns = live.read(["day", "text", "vector"])
    assert columns["id"].tolist() == list(range(1, 2301))
    assert columns["day"].tolist() == list(range(2300))
    assert set(columns["text"].tolist()) == {"é" * 4096}, "a text too long is cut between characters"
    np.testing.assert_allclose(columns["vector"], some_records(2300).vectors["vector"], rtol=1e-6)
    assert "Traceback" not in capfd.readouterr().err, "to look for an alias that is not there is no error"


def test_the_account_says_what_was_verified(each: Workspace) -> None:
    records = some_records(300, until=300, facts={"encoder": "e1"}, checks={"early": [Filter(before=100)]})
    with milvus.connect(each) as client:
        name = milvus.publish(client, each, "items", records)
        account, server = milvus.account_of(client, name), str(milvus.Server.of(client))
        (listed,) = milvus.listed(client, each, "items")
    assert account["rows"] == 300
    assert account["server"] == server
    assert account["index"] == {"kind": "FLAT"}
    assert account["recall"] == {"vector": {"early": 1.0}}
    assert (account["encoder"], account["until"], account["k"]) == ("e1", 300, 4)
    assert account["changes"] == {"since": None, "same": 0, "new": 300, "changed": 0, "gone": 0, "copied": False}
    assert (listed["collection"], listed["state"], listed["version"]) == (name, "live", 1)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"insert": None}, "stored 0 of 5 rows"),
        ({"until": 4}, "1 rows of .* are of day 4 or later"),
        ({"vectors": True}, "Milvus answers wrongly"),
    ],
)
def test_a_failed_verification_leaves_the_old_version_live(
    each: Workspace, monkeypatch: pytest.MonkeyPatch, wrong: dict[str, Any], words: str
) -> None:
    with milvus.connect(each) as client:
        first = milvus.publish(client, each, "items", some_records(5))
        insert = client.insert
        if "insert" in wrong:
            monkeypatch.setattr(client, "insert", lambda *_: None)
        if "vectors" in wrong:  # each row with its neighbour's vector
            shifted = np.roll(some_records(5, seed=1).vectors["vector"], 1, axis=0)
            monkeypatch.setattr(
                client,
                "insert",
                lambda name, rows: insert(name, [row | {"vector": shifted[at]} for at, row in enumerate(rows)]),
            )
        with pytest.raises(LlmcfError, match=words):
            milvus.publish(client, each, "items", some_records(5, seed=1, until=wrong.get("until")))
        assert milvus.live_version(client, each, "items") == first
        assert own(client, each) == {first}, "what failed is not kept"


def test_an_index_that_finds_too_little_does_not_go_live(each: Workspace) -> None:
    poor = milvus.IndexConfig(kind="IVF_FLAT", nlist=64, nprobe=1)
    with milvus.connect(each) as client:
        first = milvus.publish(client, each, "items", some_records(5))
        with pytest.raises(LlmcfError, match=r"recall@4 of .* under no filter is 0\.\d+, below 0\.97.*nprobe"):
            milvus.publish(client, each, "items", some_records(3000, width=32, index=poor))
        assert milvus.live_version(client, each, "items") == first


def test_nothing_is_not_published(ws: Workspace) -> None:
    with milvus.connect(ws) as client:
        first = milvus.publish(client, ws, "items", some_records(5))
        with pytest.raises(UsageError, match="nothing to publish"):
            milvus.publish(client, ws, "items", some_records(0))
        assert milvus.live_version(client, ws, "items") == first


def test_what_a_killed_run_left_is_cleared_away(each: Workspace) -> None:
    with milvus.connect(each) as client:
        first = milvus.publish(client, each, "items", some_records(5))
        client.create_collection(f"{milvus.alias(each, 'items')}_unverified", dimension=4)
        assert milvus.versions(client, each, "items") == [first], "what is not verified is no version"
        second = milvus.publish(client, each, "items", some_records(6))
        assert own(client, each) == {first, second}


def test_the_same_rows_are_not_written_again(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    with milvus.connect(ws) as client:
        first, second = (milvus.publish(client, ws, "items", some_records(count)) for count in (5, 6))
        monkeypatch.setattr(client, "insert", None)
        assert milvus.publish(client, ws, "items", some_records(5)) == first
        assert milvus.live_version(client, ws, "items") == first
        assert milvus.versions(client, ws, "items") == [first, second]


def test_the_same_rows_of_another_encoder_are_another_version(ws: Workspace) -> None:
    with milvus.connect(ws) as client:
        first = milvus.publish(client, ws, "items", some_records(5))
        assert milvus.publish(client, ws, "items", some_records(5, facts={"encoder": "e1"})) == first
        assert milvus.account_of(client, first)["encoder"] == "e1", "a version of before says it now"
        second = milvus.publish(client, ws, "items", some_records(5, facts={"encoder": "e2"}))
        assert milvus.live_version(client, ws, "items") == second != first
        assert [milvus.account_of(client, name)["encoder"] for name in (first, second)] == ["e1", "e2"]
        assert milvus.publish(client, ws, "items", some_records(5, facts={"encoder": "e1"})) == first


def test_a_version_that_names_another_encoder_does_not_go_live(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    with milvus.connect(ws) as client:
        first = milvus.publish(client, ws, "items", some_records(5))
        monkeypatch.setattr(building, "tell", lambda *_: None)
        with pytest.raises(LlmcfError, match="names the encoder None, and its rows are of 'e1'; the old version stays"):
            milvus.publish(client, ws, "items", some_records(6, facts={"encoder": "e1"}))
        assert milvus.names(client) == {first}


def test_a_rollback_goes_to_the_version_before_and_stays(each: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    with milvus.connect(each) as client:
        with pytest.raises(UsageError, match="nothing is published"):
            milvus.rollback(client, each, "items")
        first = milvus.publish(client, each, "items", some_records(5))
        with pytest.raises(UsageError, match=r"nothing before .* kept: none"):
            milvus.rollback(client, each, "items")
        second = milvus.publish(client, each, "items", some_records(6))
        assert milvus.rollback(client, each, "items") == (second, first)
        assert milvus.open_live(client, each, "items", "llmcf export").count == 5
        with pytest.raises(UsageError, match=r"nothing before .* kept: 2 \(--version\)"):
            milvus.rollback(client, each, "items")
        assert milvus.publish(client, each, "items", some_records(6)) == second
        assert milvus.live_version(client, each, "items") == first, "the same rows were left"
        assert "--version 2" in capsys.readouterr().err
        third = milvus.publish(client, each, "items", some_records(7))
        assert milvus.live_version(client, each, "items") == third
        with pytest.raises(UsageError, match="no version 9"):
            milvus.rollback(client, each, "items", 9)
        assert milvus.rollback(client, each, "items", 2) == (third, second)
        assert milvus.rollback(client, each, "items", 1) == (second, first)
        for rows in (6, 7):
            milvus.publish(client, each, "items", some_records(rows))
            assert milvus.live_version(client, each, "items") == first, "left on the way"
        assert milvus.versions(client, each, "items") == [first, second, third]


def test_a_name_never_means_other_rows(ws: Workspace) -> None:
    """Not in another Milvus, nor after a loss: numbers begin anew there."""
    found = []
    hnsw = milvus.IndexConfig(kind="HNSW")
    for records in (some_records(5), some_records(6), some_records(5, seed=1), some_records(5, index=hnsw)):
        shutil.rmtree(ws.path("milvus.db"), ignore_errors=True)
        with milvus.connect(ws) as client:
            found.append(milvus.publish(client, ws, "items", records))
    shutil.rmtree(ws.path("milvus.db"))
    with milvus.connect(ws) as client:
        again = milvus.publish(client, ws, "items", some_records(5))
    assert [milvus.number(name) for name in found] == [1, 1, 1, 1]
    assert len(set(found)) == 4
    assert again == found[0], "the same rows are found again by who knew them"


def test_a_lost_alias_costs_no_version(ws: Workspace) -> None:
    with milvus.connect(ws) as client:
        first = milvus.publish(client, ws, "items", some_records(5))
        client.drop_alias(milvus.alias(ws, "items"))
        second = milvus.publish(client, ws, "items", some_records(6))
        assert milvus.versions(client, ws, "items") == [first, second]
        assert milvus.live_version(client, ws, "items") == second


def test_homes_that_share_a_milvus_leave_each_other_alone(
    ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMCF_MILVUS_URI", str(tmp_path / "shared.db"))
    made = {}
    for home in ("a", "b"):
        monkeypatch.setenv("LLMCF_HOME", str(tmp_path / home))
        with milvus.connect(ws) as client:
            made[home] = [milvus.publish(client, ws, "items", some_records(count)) for count in (5, 6, 7)]
            milvus.drop_versions(client, ws, "items", keep=[])
    with milvus.connect(ws) as client:
        assert milvus.names(client) == {*made["a"][1:], *made["b"][1:]}
        milvus.forget(client, ws, "items", keep=[])
        assert milvus.names(client) == set(made["a"][1:])


def test_a_missing_collection_names_the_verb(ws: Workspace) -> None:
    with milvus.connect(ws) as client, pytest.raises(LlmcfError, match=r"holds no collection .*; run `llmcf export`"):
        milvus.open_live(client, ws, "items", "llmcf export")


def test_a_file_held_by_another_process_is_a_clear_error(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lite, "PATIENCE_S", 1)
    with milvus.connect(ws):
        pass
    command = [sys.executable, "-c", HOLDER, str(ws.path("milvus.db"))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(LlmcfError, match=r"held by process.*LLMCF_MILVUS_URI"), milvus.connect(ws):
            pass
        holder.communicate("")
    with milvus.connect(ws) as client:  # and nothing is left locked
        assert client.list_collections() == []


def test_a_server_that_does_not_answer_is_a_clear_error(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMCF_MILVUS_URI", "http://name:secret@127.0.0.1:9")
    monkeypatch.setattr(connection, "_TIMEOUT_S", 2)
    with pytest.raises(LlmcfError, match=r"no Milvus answers at 127\.0\.0\.1:9 ") as caught, milvus.connect(ws):
        pass
    assert "secret" not in str(caught.value)
