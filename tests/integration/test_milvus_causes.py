"""Why Milvus does not answer: each cause has words of its own, and none takes minutes."""

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path

import grpc
import numpy as np
import pytest

from core.errors import LlmcfError, Missing, Unavailable, UsageError
from core.settings import PROJECT, Workspace
from ict import milvus
from ict.milvus import connection, lite

pytestmark = pytest.mark.integration

HOLDER = """
import sys
from core.settings import Workspace
from ict import milvus
with milvus.connect(Workspace("movielens-100k", "shuffled-ties")):
    print("held", flush=True)
    sys.stdin.read()
"""
READER = """
import sys, time
from core.settings import Workspace
from ict import milvus
ws = Workspace("movielens-100k", "shuffled-ties")
with milvus.connect(ws) as client:
    time.sleep(1)
    print(milvus.open_live(client, ws, "items", "llmcf export").count)
"""


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path))
    return Workspace("movielens-100k", "shuffled-ties")


@pytest.fixture
def holder(ws: Workspace) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", HOLDER]
    with subprocess.Popen(command, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def some_records() -> milvus.Records:
    return milvus.Records(ids=np.arange(1, 6), vectors={"vector": np.eye(5, 8, dtype=np.float32)})


def open_and_leave(ws: Workspace) -> None:
    with milvus.connect(ws) as client:
        milvus.names(client)


def test_the_process_that_holds_it_is_named(
    ws: Workspace, holder: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(lite, "PATIENCE_S", 1.5)
    monkeypatch.setattr(lite, "_SAY_AFTER_S", 0.5)
    start = time.monotonic()
    with pytest.raises(Unavailable, match=rf"held by process {holder.pid} .*LLMCF_MILVUS_URI"):
        open_and_leave(ws)
    assert time.monotonic() - start < 15
    assert capsys.readouterr().err.count("waiting for") == 1


def test_a_short_wait_is_enough(ws: Workspace, holder: subprocess.Popen[str]) -> None:
    threading.Timer(1, holder.kill).start()
    open_and_leave(ws)


def test_three_readers_at_once_take_turns(ws: Workspace) -> None:
    with milvus.connect(ws) as client:
        milvus.publish(client, ws, "items", some_records())
    readers = [
        subprocess.Popen([sys.executable, "-c", READER], cwd=PROJECT, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    assert [reader.communicate()[0] for reader in readers] == ["5\n"] * 3


def test_a_file_of_another_format(ws: Workspace) -> None:
    ws.path("milvus.db").parent.mkdir(parents=True)
    ws.path("milvus.db").write_bytes(b"SQLite format 3\0")
    with pytest.raises(Missing, match=r"not of this Milvus Lite \(a file.*move it away; run `llmcf cot index "):
        open_and_leave(ws)


def test_a_folder_of_something_else_is_not_written_into(ws: Workspace) -> None:
    ws.path("milvus.db", "photos").mkdir(parents=True)
    with pytest.raises(Missing, match="a folder with photos in it"):
        open_and_leave(ws)
    assert [path.name for path in ws.path("milvus.db").iterdir()] == ["photos"]


def test_a_damaged_folder(ws: Workspace) -> None:
    ws.path("milvus.db").mkdir(parents=True)
    ws.path("milvus.db", "collections").write_text("no folder")
    with pytest.raises(Missing, match="not of this Milvus Lite"):
        open_and_leave(ws)


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("milvus.db", r"another file in each working folder; name /.*/milvus\.db"),
        ("./x/milvus.db", r"name /.*/x/milvus\.db"),
        ("~/milvus.db", r"name /.*/milvus\.db"),
        ("milvus.internal:19530", r"name http://milvus\.internal:19530"),
        ("/var/lib/milvus", r"no path that ends in \.db"),
    ],
)
def test_an_address_that_cannot_be_meant(
    ws: Workspace, uri: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LLMCF_MILVUS_URI", uri)
    with pytest.raises(UsageError, match=words):
        open_and_leave(ws)
    assert list(tmp_path.iterdir()) == []


def test_an_absolute_path_is_a_milvus_lite(ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMCF_MILVUS_URI", str(tmp_path / "it's own & ü.db"))
    with milvus.connect(ws) as client:
        name = milvus.publish(client, ws, "items", some_records())
    with milvus.connect(ws) as client:
        assert milvus.versions(client, ws, "items") == [name]
    assert not ws.path("milvus.db").exists()


def test_a_server_that_takes_the_connection_and_says_nothing(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_TIMEOUT_S", 2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setenv("LLMCF_MILVUS_URI", f"http://127.0.0.1:{silent.getsockname()[1]}")
        start = time.monotonic()
        with pytest.raises(Unavailable, match="no Milvus answers"):
            open_and_leave(ws)
    assert time.monotonic() - start < 15


def test_a_server_that_goes_away_is_not_asked_for_minutes(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_PATIENCE_S", 2)
    before: list[float] = []
    with lite.opened(ws.path("milvus.db"), "llmcf cot index") as address:
        server = lite.opened(ws.path("other.db"), "llmcf cot index")
        monkeypatch.setenv("LLMCF_MILVUS_URI", server.__enter__())
        with pytest.raises(Unavailable, match="no Milvus answers"), milvus.connect(ws) as client:
            assert milvus.names(client) == set()
            server.__exit__(None, None, None)
            before.append(time.monotonic())
            milvus.names(client)
        assert time.monotonic() - before[0] < 20
        monkeypatch.setenv("LLMCF_MILVUS_URI", address)
        open_and_leave(ws)


FRESH = """
from core.settings import Workspace
from ict import milvus
from ict.milvus import connection
connection._TIMEOUT_S = 1
with milvus.connect(Workspace("movielens-100k", "shuffled-ties")) as client:
    client.describe_alias("nobody")
"""


def test_a_fresh_process_logs_no_traceback_beside_what_is_raised(ws: Workspace) -> None:
    """pymilvus makes a log of its own when it is imported, which would show every failed call."""
    done = subprocess.run([sys.executable, "-c", FRESH], cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 1
    assert "does not exist" in done.stderr
    assert "[ERROR]" not in done.stderr


class Refusing(grpc.GenericRpcHandler):
    """A server that wants another token, whatever it is asked."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        def refuse(_: bytes, context: grpc.ServicerContext) -> bytes:
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "auth check failure")

        return grpc.unary_unary_rpc_method_handler(refuse)


def test_a_wrong_token_is_named_and_not_shown(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    server = grpc.server(futures.ThreadPoolExecutor(1), handlers=[Refusing()])
    monkeypatch.setenv("LLMCF_MILVUS_URI", f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}")
    monkeypatch.setenv("LLMCF_MILVUS_TOKEN", "root:secret")
    server.start()
    try:
        with pytest.raises(UsageError, match="LLMCF_MILVUS_TOKEN") as caught:
            open_and_leave(ws)
    finally:
        server.stop(0)
    assert "secret" not in str(caught.value)


def test_a_mistake_of_ours_stays_as_it_is(ws: Workspace) -> None:
    from pymilvus.exceptions import MilvusException

    with pytest.raises(MilvusException) as caught, milvus.connect(ws) as client:
        client.query("no_such_collection", filter="")
    assert not isinstance(caught.value, LlmcfError)
