"""A real Triton server over a release of invented weights."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Event

import numpy as np
import psutil
import pytest

from core import settings
from core.contracts import DENSE
from core.errors import LlmcfError, Unavailable
from core.settings import PROJECT, Workspace
from llmcf.serving import serve, triton_install, triton_server
from llmcf.serving.manifest import Release
from llmcf.serving.triton_client import Arrays, Canary, Client, canary, open_locally
from llmcf.serving.triton_server import Server, run_triton
from tests.synthetic_release import ROWS, write_release
from tests.triton_counts import counted
from tests.triton_questions import question

pytestmark = pytest.mark.integration
WS = Workspace("movielens-100k", "shuffled-ties")


def local(release: Release, model: str) -> Callable[[Arrays], dict[str, np.ndarray]]:
    return open_locally(release.models / model / str(release.number) / "model.onnx", model)


def check(server: Server, release: Release) -> Canary:
    return canary(server, release.models, release.stages)


def servers() -> set[int]:
    """Servers and stubs that this process has started, by number."""
    prefix = f"llmcf_{os.getpid()}_"
    found = psutil.process_iter(["cmdline"])
    return {process.pid for process in found if prefix in " ".join(process.info["cmdline"] or [])}


def runtimes(folder: Path) -> list[Path]:
    return list(folder.glob("llmcf-triton-*"))


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    """A release in a repository in which other things lie about, and an own home for everything else."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMCF_HOME", str(home))
        patch.setenv("LLMCF_RUNS", str(home / "runs"))
        patch.setenv("LLMCF_TRITON_MODELS", str(home / "models"))
        made = write_release(WS)
        (made.models / "__pycache__").mkdir()
        (made.models / "README.md").write_text("stray")
        (made.models / "ranker" / ".2.99.tmp").mkdir()
        yield made


@pytest.fixture
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home and a repository of the test's own."""
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path))
    monkeypatch.setenv("LLMCF_TRITON_MODELS", str(tmp_path / "models"))
    return tmp_path


@pytest.fixture(scope="module")
def server(release: Release) -> Iterator[Server]:
    with run_triton(release.models) as running:
        yield running


def test_a_hundred_candidates_in_one_batch_are_scored_as_onnxruntime_does(server: Server, release: Release) -> None:
    arrays = question(release, "ranker", 100)
    with Client(server, release.stages) as client:
        requests, runs = client.executions("ranker")
        scores = client.infer("ranker", arrays)["score"]
        assert counted(client, "ranker", requests + 1) == (requests + 1, runs + 1)
    expected = local(release, "ranker")(arrays)["score"]
    assert scores.shape == (100,)
    np.testing.assert_allclose(scores, expected, atol=1e-6)
    assert len(np.unique(scores)) > 50  # and not one number for all


def test_what_is_optional_may_be_left_out_and_is_zero(server: Server, release: Release) -> None:
    arrays = question(release, "ranker", 7)
    optional = [tensor.name for tensor in release.stages["ranker"].inputs if tensor.optional]
    assert optional == ["brand", "categories", "text"]
    zeros = {name: np.zeros_like(arrays[name]) for name in optional}
    with Client(server, release.stages) as client:
        without = client.infer("ranker", {name: values for name, values in arrays.items() if name not in optional})
    np.testing.assert_allclose(without["score"], local(release, "ranker")(arrays | zeros)["score"], atol=1e-6)


def test_user_vectors_come_back_row_by_row(server: Server, release: Release) -> None:
    arrays = question(release, "user_vector", 3)
    with Client(server, release.stages) as client:
        whole = client.infer("user_vector", arrays)["vector"]
        second = client.infer("user_vector", {name: values[1:2] for name, values in arrays.items()})["vector"]
    np.testing.assert_allclose(whole[1:2], second, atol=1e-5)


def test_concurrent_requests_are_put_together_and_each_gets_its_own_answer(server: Server, release: Release) -> None:
    def ask(seed: int) -> np.ndarray:
        with Client(server, release.stages) as client:
            arrays = question(release, "ranker", 50, seed)
            return np.stack([client.infer("ranker", arrays)["score"] for _ in range(20)])

    with Client(server, release.stages) as client:
        requests, runs = client.executions("ranker")
        with ThreadPoolExecutor(12) as pool:
            answers = list(pool.map(ask, range(12)))
        more_requests, more_runs = counted(client, "ranker", requests + 12 * 20)
    assert more_requests - requests == 12 * 20
    assert more_runs - runs < 12 * 20
    alone = local(release, "ranker")
    for seed, answer in enumerate(answers):
        expected = alone(question(release, "ranker", 50, seed))["score"]
        np.testing.assert_allclose(answer, np.tile(expected, (20, 1)), atol=1e-5)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"history": np.zeros((2, 7), dtype=np.int64)}, "shape"),
        ({"item": np.full(2, ROWS)}, "out of data bounds"),
        ({"item": np.full(2, -1)}, "ids are not negative"),
        ({"dense": np.full((2, len(DENSE)), np.nan, dtype=np.float32)}, "not finite"),
    ],
)
def test_a_bad_request_is_refused_and_the_server_lives(
    server: Server, release: Release, change: dict[str, np.ndarray], words: str
) -> None:
    with Client(server, release.stages) as client, pytest.raises(LlmcfError, match=words):
        client.infer("ranker", {**question(release, "ranker", 2), **change})
    check(server, release)


def test_a_bad_request_spoils_none_of_those_it_is_batched_with(server: Server, release: Release) -> None:
    bad = {**question(release, "ranker", 50), "item": np.full(50, ROWS)}

    def ask(number: int) -> bool:
        with Client(server, release.stages) as client:
            for _ in range(10):
                if number % 3 == 0:
                    with pytest.raises(LlmcfError, match="out of data bounds"):
                        client.infer("ranker", bad)
                else:
                    assert client.infer("ranker", question(release, "ranker", 50))["score"].shape == (50,)
        return True

    with ThreadPoolExecutor(9) as pool:
        assert all(pool.map(ask, range(9)))


def test_every_port_is_on_loopback_only(server: Server) -> None:
    listening = [c.laddr for c in psutil.Process(server.pid).net_connections("inet") if c.status == psutil.CONN_LISTEN]
    assert {port for _, port in listening} == {server.http_port, server.grpc_port, server.metrics_port}
    assert {address for address, _ in listening} <= {"127.0.0.1", "::ffff:127.0.0.1"}


def test_clients_cannot_load_models(server: Server) -> None:
    import tritonclient.http as library
    from tritonclient.utils import InferenceServerException

    with library.InferenceServerClient(server.address) as client, pytest.raises(InferenceServerException):
        client.unload_model("ranker")


def test_a_busy_port_is_named_with_the_remedy(release: Release) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with (
            pytest.raises(LlmcfError, match=f"port {port} .* choose another"),
            run_triton(release.models, http_port=port),
        ):
            pass


def test_a_port_lost_to_another_process_is_replaced(release: Release, monkeypatch: pytest.MonkeyPatch) -> None:
    find, lost = triton_server._ports, []

    def lose_the_first(wanted: tuple[int | None, ...]) -> tuple[int, int, int]:
        http_port, grpc_port, metrics_port = find(wanted)
        if not lost:
            taken.bind(("127.0.0.1", http_port))
            taken.listen()
            lost.append(http_port)
        return http_port, grpc_port, metrics_port

    monkeypatch.setattr(triton_server, "_ports", lose_the_first)
    with socket.socket() as taken, run_triton(release.models) as server:
        assert lost != [server.http_port]
        check(server, release)


def test_a_server_that_crashes_as_it_starts_is_started_again(
    release: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, once = triton_install.find(), tmp_path / "once"
    binary = tmp_path / "tritonserver"
    binary.write_text(f'#!/bin/sh\n[ -e "{once}" ] && exec {found.binary} "$@"\ntouch "{once}"\nkill -ABRT $$\n')
    binary.chmod(0o755)
    monkeypatch.setattr(triton_install, "find", lambda: replace(found, binary=binary))
    with run_triton(release.models) as server:
        assert once.exists()
        check(server, release)
    once.unlink()
    monkeypatch.setattr(triton_server, "_TRIES", 1)
    with pytest.raises(Unavailable, match="Triton did not get ready"), run_triton(release.models):
        pass


def test_a_server_that_is_gone_is_unavailable(release: Release) -> None:
    with run_triton(release.models) as server:
        pass
    with Client(server, release.stages) as client:
        for ask in (client.loaded, client.server_version, lambda: client.executions("ranker")):
            with pytest.raises(Unavailable, match="no Triton answers"):
                ask()
        with pytest.raises(Unavailable, match="no Triton answers"):
            client.infer("ranker", question(release, "ranker", 1))


def test_two_ports_of_one_number_are_refused(release: Release) -> None:
    with pytest.raises(LlmcfError, match="need a port each"), run_triton(release.models, http_port=9, grpc_port=9):
        pass


def test_an_empty_repository_names_the_verb(tmp_path: Path) -> None:
    with pytest.raises(LlmcfError, match="llmcf export"), run_triton(tmp_path):
        pass


def test_a_broken_model_gives_the_end_of_the_log_and_leaves_nothing(
    own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path, made = own_home, write_release(WS)
    (made.models / "ranker" / "1" / "model.onnx").write_bytes(b"not ONNX")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = servers()
    with pytest.raises(LlmcfError, match=r"failed to load .ranker. version 1"), run_triton(made.models):
        pass
    assert servers() == before
    assert not runtimes(tmp_path)


def test_the_canary_catches_nan_and_stopping_leaves_nothing(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path, made = own_home, write_release(WS, bias=float("nan"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = servers()
    with run_triton(made.models) as server:
        assert len(servers() - before) >= 3, "a server and two stubs"
        assert runtimes(tmp_path)
        assert list(Path("/dev/shm").glob(f"llmcf_{os.getpid()}_*"))
        regions = set(Path("/dev/shm").glob(f"llmcf_{os.getpid()}_*"))
        with pytest.raises(LlmcfError, match="not finite"):
            check(server, made)
    assert servers() == before
    assert not runtimes(tmp_path)
    assert not psutil.pid_exists(server.pid)
    assert len(set(Path("/dev/shm").glob(f"llmcf_{os.getpid()}_*"))) < len(regions)


@pytest.mark.parametrize("name", ["with a blank", "it's", "a&b", "Müller", "$(touch broken);`x`"])
def test_folders_may_be_called_anything(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = tmp_path / name
    monkeypatch.setenv("LLMCF_HOME", str(odd))
    monkeypatch.setenv("LLMCF_RUNS", str(odd / "runs"))
    monkeypatch.setattr(tempfile, "tempdir", str(odd))  # and so may the folder of temporary files
    monkeypatch.setenv("LLMCF_TRITON_MODELS", str(odd / "models"))
    odd.mkdir()
    made = write_release(WS)
    with run_triton(made.models, ready_within_s=60) as server:
        check(server, made)
    assert {path.name for path in odd.iterdir()} == {"runs", "models", "home.json", ".home.lock"}


def wait_for(condition: Callable[[], object], within_s: float = 20) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.1)
    return False


@pytest.fixture
def kept(release: Release) -> Iterator[subprocess.Popen[bytes]]:
    """`llmcf serve` as a process of its own, once it is up."""
    command = [sys.executable, "-m", "llmcf", "serve", "--models-only", "--dataset", WS.dataset]
    process = subprocess.Popen(command, cwd=PROJECT)
    try:
        assert wait_for(lambda: serve.running(WS.dataset))
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_kept_server_is_found_and_a_signal_ends_it(kept: subprocess.Popen[bytes], release: Release) -> None:
    running = serve.running(WS.dataset)
    assert running is not None
    assert (running.release, running.models) == (1, release.models)
    check(running.server, release)
    with serve.connect(release) as used:
        assert used == running.server
    with pytest.raises(LlmcfError, match="already served"):
        serve.serve(release)
    kept.send_signal(signal.SIGINT)
    assert kept.wait(20) == 0
    assert serve.running(WS.dataset) is None
    assert not psutil.pid_exists(running.server.pid)


def test_a_kept_server_is_asked_what_it_has_loaded(
    server: Server, release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = write_release(WS, seed=4, live=False)
    monkeypatch.setattr(serve, "running", lambda _: serve.Running(server, other.models, other.number))
    with serve.connect(other) as used:
        assert used.http_port != server.http_port
        check(used, other)


def test_of_two_that_start_at_once_one_is_refused_and_the_other_stays_known(
    kept: subprocess.Popen[bytes], release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second has looked before the first was written down."""
    looks = iter([None])
    look = serve.running
    monkeypatch.setattr(serve, "running", lambda dataset: next(looks, look(dataset)))
    monkeypatch.setattr(serve, "_CHECK_EVERY_S", 0.01)
    monkeypatch.setattr(serve, "_ask", lambda *_: pytest.fail("it serves"))
    with pytest.raises(LlmcfError, match="release 1 is already served"):
        serve.serve(release)
    assert look(WS.dataset) is not None


def test_the_note_of_another_server_stays(
    release: Release, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Machines that share a home have one note; who ends strikes out its own."""
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path))  # a server of a test before may not have ended yet
    mine, other = (serve.Running(replace(server, pid=pid), release.models, 1) for pid in (1, 2))
    serve._write_down(mine, WS.dataset)
    serve._write_down(other, WS.dataset)
    serve._strike_out(mine, WS.dataset)
    assert serve._noted(WS.dataset) == other
    serve._strike_out(other, WS.dataset)
    assert serve._noted(WS.dataset) is None


class Hoarse(Canary):
    """A canary whose first questions find no answer in time."""

    def __init__(self, silent: int) -> None:
        self.silent = silent

    def check(self, server: Server) -> None:
        self.silent -= 1
        if self.silent >= 0:
            raise Unavailable("timed out")


def test_one_late_answer_ends_no_server_and_two_do(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "_AGAIN_S", 0.01)
    serve._ask(Hoarse(1), server, Event())
    with pytest.raises(Unavailable):
        serve._ask(Hoarse(2), server, Event())


def test_the_log_of_a_running_server_is_kept(server: Server) -> None:
    for number in range(triton_server._LOGS + 3):
        (server.log.parent / f"9{number:03}.log").touch()
    made = triton_server._new_log()
    assert server.log.exists()
    assert len(list(made.parent.glob("9*.log"))) == triton_server._LOGS - 1
    for path in made.parent.glob("9*.log"):
        path.unlink()


def test_a_killed_verb_takes_its_server_along(kept: subprocess.Popen[bytes], release: Release) -> None:
    running = serve.running(WS.dataset)
    assert running is not None
    kept.kill()
    assert wait_for(lambda: not triton_alive(running.server.pid))
    assert (settings.home() / f"triton-server-{WS.dataset}.json").exists()  # left behind, and not believed
    assert serve.running(WS.dataset) is None


def triton_alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_serve_check_starts_asks_and_stops(release: Release) -> None:
    result = serve.serve(release, check=True)
    assert result.details["release"] == 1
    assert serve.running(WS.dataset) is None


def test_two_data_sets_are_served_side_by_side(kept: subprocess.Popen[bytes], release: Release) -> None:
    other = write_release(Workspace("amazon-beauty", "published"), seed=5)
    with serve.connect(other) as second, serve.connect(release) as first:
        assert first.http_port != second.http_port
        for server, one in ((first, release), (second, other)):
            arrays = question(one, "ranker", 4)
            with Client(server, one.stages) as client:
                np.testing.assert_allclose(
                    client.infer("ranker", arrays)["score"], local(one, "ranker")(arrays)["score"], atol=1e-6
                )


def test_a_server_of_another_release_is_found_out(server: Server, release: Release) -> None:
    another = write_release(WS, seed=3, live=False)
    said = "serves ranker 1, score 1, user_vector 1, and the release is ranker 3, score 3, user_vector 3"
    with pytest.raises(LlmcfError, match=said):
        check(server, another)
