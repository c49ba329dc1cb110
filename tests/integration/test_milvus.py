"""Publishing collections: versions, verification, the alias flip, and a file that somebody else holds."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from core.errors import LlmcfError
from core.settings import Workspace
from ict import milvus, milvus_lite

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


def some_records(count: int, seed: int = 0) -> milvus.Records:
    vectors = np.random.default_rng(seed).normal(size=(count, 8)).astype(np.float32)
    return milvus.Records(
        ids=np.arange(1, count + 1),
        vectors={"vector": vectors},
        scalars={"day": np.arange(count), "text": ["é" * 6000] * count},
    )


def test_versions_alias_and_reading_back(ws: Workspace) -> None:
    with milvus.connect(ws) as client:
        assert milvus.live_version(client, ws, "items") is None
        names = [milvus.publish(client, ws, "items", some_records(count)) for count in (5, 6, 2300)]
        assert [milvus.number(name) for name in names] == [1, 2, 3]
        assert milvus.versions(client, ws, "items") == names, "whoever reads an old one goes on"
        assert milvus.drop_versions(client, ws, "items", keep={names[0]}) == [names[1]]
        assert milvus.versions(client, ws, "items") == [names[0], names[2]], "what is kept, and the live one"
    with milvus.connect(ws) as client:  # reopened: nothing is loaded
        name = milvus.load(client, ws, "items", "llmcf export")
        assert name == names[-1]
        columns = milvus.read(client, name, ["day", "text", "vector"])
    assert columns["id"].tolist() == list(range(1, 2301))
    assert columns["day"].tolist() == list(range(2300))
    assert set(columns["text"].tolist()) == {"é" * 4096}, "a text too long is cut between characters"
    np.testing.assert_allclose(columns["vector"], some_records(2300).vectors["vector"], rtol=1e-6)


def test_a_failed_verification_leaves_the_old_version_live(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    with milvus.connect(ws) as client:
        first = milvus.publish(client, ws, "items", some_records(5))
        monkeypatch.setattr(client, "insert", lambda *_: None)
        with pytest.raises(LlmcfError, match="stored 0 of 5 rows"):
            milvus.publish(client, ws, "items", some_records(5, seed=1))
        assert milvus.live_version(client, ws, "items") == first
        assert milvus.versions(client, ws, "items") == [first]


def test_what_a_killed_run_left_is_cleared_away(ws: Workspace) -> None:
    with milvus.connect(ws) as client:
        first = milvus.publish(client, ws, "items", some_records(5))
        client.create_collection(f"{milvus.alias(ws, 'items')}_v2_{'0' * 12}", dimension=4)
        second = milvus.publish(client, ws, "items", some_records(6))
        assert milvus.versions(client, ws, "items") == [first, second]
        assert len(milvus.read(client, second, ["day"])["id"]) == 6


def test_a_name_never_means_other_rows(ws: Workspace) -> None:
    """Not in another Milvus, nor after a loss: numbers begin anew there."""
    found = []
    for records in (some_records(5), some_records(6), some_records(5, seed=1), some_records(5)):
        shutil.rmtree(ws.path("milvus.db"), ignore_errors=True)
        with milvus.connect(ws) as client:
            found.append(milvus.publish(client, ws, "items", records))
    assert [milvus.number(name) for name in found] == [1, 1, 1, 1]
    assert len(set(found)) == 3
    assert found[3] == found[0], "the same rows are found again by who knew them"


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
            made[home] = [milvus.publish(client, ws, "items", some_records(count)) for count in (5, 6)]
            milvus.drop_versions(client, ws, "items", keep=[])
    with milvus.connect(ws) as client:
        assert milvus.names(client) == {made["a"][1], made["b"][1]}
        milvus.forget(client, ws, "items", keep=[])
        assert milvus.names(client) == {made["a"][1]}


def test_a_missing_collection_names_the_verb(ws: Workspace) -> None:
    with milvus.connect(ws) as client, pytest.raises(LlmcfError, match=r"holds no collection .*; run `llmcf export`"):
        milvus.load(client, ws, "items", "llmcf export")


def test_a_file_held_by_another_process_is_a_clear_error(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(milvus_lite, "PATIENCE_S", 1)
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
    monkeypatch.setattr(milvus, "_TIMEOUT_S", 2)
    with pytest.raises(LlmcfError, match=r"no Milvus answers at 127\.0\.0\.1:9 ") as caught, milvus.connect(ws):
        pass
    assert "secret" not in str(caught.value)
