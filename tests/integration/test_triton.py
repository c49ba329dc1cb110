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
from pathlib import Path

import numpy as np
import psutil
import pytest

from core import settings
from core.contracts import DENSE, TRITON_MODELS
from core.errors import LlmcfError, Unavailable
from core.settings import PROJECT, Workspace
from llmcf.serving import releases, serve, triton_server
from llmcf.serving.triton_client import Client, canary, open_locally
from llmcf.serving.triton_server import Server, run_triton
from tests.synthetic_release import ROWS, write_release

pytestmark = pytest.mark.integration
WS = Workspace("movielens-100k", "shuffled-ties")


def question(model: str, rows: int, seed: int = 0) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    return {
        tensor.name: generator.integers(0, ROWS, (rows, *tensor.shape))
        if tensor.dtype == "int64"
        else generator.random((rows, *tensor.shape), dtype=np.float32)
        for tensor in TRITON_MODELS[model][0]
    }


def servers() -> set[int]:
    """Servers and stubs that this process has started, by number."""
    prefix = f"llmcf_{os.getpid()}_"
    found = psutil.process_iter(["cmdline"])
    return {process.pid for process in found if prefix in " ".join(process.info["cmdline"] or [])}


def runtimes(folder: Path) -> list[Path]:
    return list(folder.glob("llmcf-triton-*"))


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A repository of one release, with things lying about in it, and an own home for everything else."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMCF_HOME", str(home))
        patch.setenv("LLMCF_RUNS", str(home / "runs"))
        patch.setenv("LLMCF_TRITON_MODELS", str(home / "models"))
        write_release(home / "models", WS)
        (home / "models" / "__pycache__").mkdir()
        (home / "models" / "README.md").write_text("stray")
        (home / "models" / "ranker" / ".2.99.tmp").mkdir()
        yield home / "models"


@pytest.fixture(scope="module")
def server(repository: Path) -> Iterator[Server]:
    with run_triton(repository) as running:
        yield running


def test_a_hundred_candidates_in_one_batch_are_scored_as_onnxruntime_does(server: Server, repository: Path) -> None:
    arrays = question("ranker", 100)
    with Client(server) as client:
        requests, runs = client.executions("ranker")
        scores = client.infer("ranker", arrays)["score"]
        assert client.executions("ranker") == (requests + 1, runs + 1)
    expected = open_locally(repository / "ranker" / "1" / "model.onnx", "ranker")(arrays)["score"]
    assert scores.shape == (100,)
    np.testing.assert_allclose(scores, expected, atol=1e-6)
    assert len(np.unique(scores)) > 50  # and not one number for all


def test_user_vectors_come_back_row_by_row(server: Server) -> None:
    arrays = question("user_vector", 3)
    with Client(server) as client:
        whole = client.infer("user_vector", arrays)["vector"]
        second = client.infer("user_vector", {name: values[1:2] for name, values in arrays.items()})["vector"]
    np.testing.assert_allclose(whole[1:2], second, atol=1e-5)


def test_concurrent_requests_are_put_together_and_each_gets_its_own_answer(server: Server, repository: Path) -> None:
    def ask(seed: int) -> np.ndarray:
        with Client(server) as client:
            return np.stack([client.infer("ranker", question("ranker", 50, seed))["score"] for _ in range(20)])

    with Client(server) as client:
        requests, runs = client.executions("ranker")
        with ThreadPoolExecutor(12) as pool:
            answers = list(pool.map(ask, range(12)))
        more_requests, more_runs = client.executions("ranker")
    assert more_requests - requests == 12 * 20
    assert more_runs - runs < 12 * 20
    path = repository / "ranker" / "1" / "model.onnx"
    for seed, answer in enumerate(answers):
        expected = open_locally(path, "ranker")(question("ranker", 50, seed))["score"]
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
    server: Server, repository: Path, change: dict[str, np.ndarray], words: str
) -> None:
    with Client(server) as client, pytest.raises(LlmcfError, match=words):
        client.infer("ranker", {**question("ranker", 2), **change})
    canary(server, repository)


def test_a_bad_request_spoils_none_of_those_it_is_batched_with(server: Server) -> None:
    bad = {**question("ranker", 50), "item": np.full(50, ROWS)}

    def ask(number: int) -> bool:
        with Client(server) as client:
            for _ in range(10):
                if number % 3 == 0:
                    with pytest.raises(LlmcfError, match="out of data bounds"):
                        client.infer("ranker", bad)
                else:
                    assert client.infer("ranker", question("ranker", 50))["score"].shape == (50,)
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


def test_a_busy_port_is_named_with_the_remedy(repository: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(LlmcfError, match=f"port {port} .* choose another"), run_triton(repository, http_port=port):
            pass


def test_a_port_lost_to_another_process_is_replaced(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find, lost = triton_server._ports, []

    def lose_the_first(wanted: tuple[int | None, ...]) -> tuple[int, int, int]:
        http_port, grpc_port, metrics_port = find(wanted)
        if not lost:
            taken.bind(("127.0.0.1", http_port))
            taken.listen()
            lost.append(http_port)
        return http_port, grpc_port, metrics_port

    monkeypatch.setattr(triton_server, "_ports", lose_the_first)
    with socket.socket() as taken, run_triton(repository) as server:
        assert lost != [server.http_port]
        canary(server, repository)


def test_a_server_that_is_gone_is_unavailable(repository: Path) -> None:
    with run_triton(repository) as server:
        pass
    with Client(server) as client:
        for ask in (client.loaded, client.server_version, lambda: client.executions("ranker")):
            with pytest.raises(Unavailable, match="no Triton answers"):
                ask()
        with pytest.raises(Unavailable, match="no Triton answers"):
            client.infer("ranker", question("ranker", 1))


def test_two_ports_of_one_number_are_refused(repository: Path) -> None:
    with pytest.raises(LlmcfError, match="need a port each"), run_triton(repository, http_port=9, grpc_port=9):
        pass


def test_an_empty_repository_names_the_verb(tmp_path: Path) -> None:
    with pytest.raises(LlmcfError, match="llmcf export"), run_triton(tmp_path):
        pass


def test_a_broken_model_gives_the_end_of_the_log_and_leaves_nothing(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path))
    write_release(tmp_path / "models", WS)
    (tmp_path / "models" / "ranker" / "1" / "model.onnx").write_bytes(b"not ONNX")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = servers()
    with pytest.raises(LlmcfError, match=r"failed to load .ranker. version 1"), run_triton(tmp_path / "models"):
        pass
    assert servers() == before
    assert not runtimes(tmp_path)


def test_the_canary_catches_nan_and_stopping_leaves_nothing(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path))
    write_release(tmp_path / "models", WS, bias=float("nan"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = servers()
    with run_triton(tmp_path / "models") as server:
        assert len(servers() - before) >= 3, "a server and two stubs"
        assert runtimes(tmp_path)
        assert list(Path("/dev/shm").glob(f"llmcf_{os.getpid()}_*"))
        regions = set(Path("/dev/shm").glob(f"llmcf_{os.getpid()}_*"))
        with pytest.raises(LlmcfError, match="not finite"):
            canary(server, tmp_path / "models")
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
    odd.mkdir()
    write_release(odd / "models", WS)
    with run_triton(odd / "models", ready_within_s=60) as server:
        canary(server, odd / "models")
    assert {path.name for path in odd.iterdir()} == {"runs", "models"}


def wait_for(condition: Callable[[], object], within_s: float = 20) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.1)
    return False


@pytest.fixture
def kept(repository: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`llmcf serve` as a process of its own, once it is up."""
    code = "from core.settings import Workspace; from llmcf.serving import serve; serve.serve(Workspace(*%r))"
    process = subprocess.Popen([sys.executable, "-c", code % ((WS.dataset, WS.order),)], cwd=PROJECT)
    try:
        assert wait_for(serve.running)
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_kept_server_is_found_and_a_signal_ends_it(kept: subprocess.Popen[bytes], repository: Path) -> None:
    running = serve.running()
    assert running is not None
    assert (running.release, running.repository) == (1, repository)
    canary(running.server, repository)
    with serve.connect(releases.require(WS)) as used:
        assert used == running.server
    with pytest.raises(LlmcfError, match="already served"):
        serve.serve(WS)
    kept.send_signal(signal.SIGINT)
    assert kept.wait(20) == 0
    assert serve.running() is None
    assert not psutil.pid_exists(running.server.pid)


def test_a_killed_verb_takes_its_server_along(kept: subprocess.Popen[bytes], repository: Path) -> None:
    running = serve.running()
    assert running is not None
    kept.kill()
    assert wait_for(lambda: not triton_alive(running.server.pid))
    assert (settings.home() / "triton-server.json").exists()  # left behind, and not believed
    assert serve.running() is None


def triton_alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_serve_check_starts_asks_and_stops(repository: Path) -> None:
    result = serve.serve(WS, check=True)
    assert result.details["release"] == 1
    assert serve.running() is None


def test_serve_refuses_a_release_of_another_workspace(repository: Path) -> None:
    with pytest.raises(LlmcfError, match="release 1 is of movielens-100k shuffled-ties latest"):
        serve.serve(Workspace("movielens-100k", "published"), check=True)
