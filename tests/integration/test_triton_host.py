"""One Triton server, several releases: loaded beside each other, tried, let go, loaded anew after a death."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from time import monotonic, sleep

import httpx
import numpy as np
import psutil
import pytest

from core.errors import LlmcfError, Unavailable
from core.settings import Workspace
from llmcf.serving import releases, triton_config
from llmcf.serving.manifest import Release
from llmcf.serving.triton_client import Client, open_locally
from llmcf.serving.triton_host import CANARY_S, Host, host
from tests.synthetic_release import write_release
from tests.triton_questions import question

WS = Workspace("movielens-100k", "shuffled-ties")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Host, Release]]:
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMCF_HOME", str(home))
        patch.setenv("LLMCF_RUNS", str(home / "runs"))
        patch.setenv("LLMCF_TRITON_MODELS", str(home / "models"))
        first = write_release(WS)
        with host(first) as running:
            yield running, first


def answers(running: Host, release: Release) -> bool:
    arrays = question(release, "ranker", 5)
    with Client(running.server, release.stages) as client:
        score = client.infer("ranker", arrays)["score"]
    graph = release.models / "ranker" / str(release.number) / "model.onnx"
    return np.allclose(score, open_locally(graph, "ranker")(arrays)["score"], atol=1e-6)


def stubs(running: Host) -> set[int]:
    found = subprocess.run(["pgrep", "-P", str(running.server.pid)], capture_output=True, text=True, check=False)
    return set(map(int, found.stdout.split()))


def runs(pid: int) -> bool:
    """What has ended and was not waited for yet does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_second_release_is_served_beside_the_first_and_then_alone(made: tuple[Host, Release]) -> None:
    running, first = made
    before = stubs(running)
    second = write_release(WS, seed=1, live=False)
    running.add(second)
    assert before <= stubs(running), "the first was not loaded again"
    assert answers(running, first)
    assert answers(running, second)
    assert running.releases == [first.number, second.number]
    running.remove(second.number)
    assert running.releases == [first.number]
    assert answers(running, first)
    end = monotonic() + 20
    while stubs(running) != before:  # Triton looks every second
        assert monotonic() < end
        sleep(0.1)


def test_a_release_whose_canary_fails_is_not_kept(made: tuple[Host, Release]) -> None:
    running, first = made
    spoiled = write_release(WS, seed=2, bias=float("nan"), live=False)
    with pytest.raises(LlmcfError, match="not finite"):
        running.add(spoiled)
    assert running.releases == [first.number]
    assert answers(running, first)


def test_a_release_of_before_the_model_score_is_served_without_it(made: tuple[Host, Release]) -> None:
    running, first = made
    older = write_release(WS, seed=3, live=False)
    shutil.rmtree(older.models / "score")
    replace(older, score={}).write(older.folder)
    older = releases.read(WS.dataset, older.number)
    running.add(older)
    assert set(older.versions) == {"ranker", "user_vector"}
    assert answers(running, older)
    with Client(running.server, first.stages) as client:
        assert ("score", first.number) in client.loaded()
    running.remove(older.number)
    assert answers(running, first)


def test_a_dead_model_process_is_found_and_replaced(made: tuple[Host, Release]) -> None:
    running, first = made
    for pid in stubs(running):
        os.kill(pid, signal.SIGKILL)
    with pytest.raises(LlmcfError):
        running.check(first.number)
    running.revive(first.number)
    running.check(first.number)
    assert answers(running, first)


def test_a_dead_server_is_started_on_its_ports_with_what_it_served(made: tuple[Host, Release]) -> None:
    running, first = made
    before, left = running.server, stubs(running)
    assert not running.ended
    os.kill(before.pid, signal.SIGKILL)
    end = monotonic() + 10
    while not running.ended:
        assert monotonic() < end
        sleep(0.01)
    with pytest.raises(LlmcfError):
        running.revive(first.number)
    start = monotonic()
    running.restart()
    assert monotonic() - start < 2, "nobody waits for it"
    end = monotonic() + 60
    while not running.up:
        assert monotonic() < end
        assert not running.ended
        sleep(0.05)
    assert running.server.address == before.address
    assert running.server.pid != before.pid
    running.check(first.number)
    assert answers(running, first)
    assert not left & stubs(running)
    assert not any(map(runs, left)), "no model process outlives its server"


def test_a_server_that_stands_still_is_told_in_seconds_and_started_anew(made: tuple[Host, Release]) -> None:
    running, first = made
    for pid in (running.server.pid, *stubs(running)):
        os.kill(pid, signal.SIGSTOP)
    start = monotonic()
    with pytest.raises(Unavailable):
        running.check(first.number)
    told = monotonic() - start
    running.restart()  # before anything is held against it: the other tests ask this server
    ended = monotonic() - start - told
    while not running.up:
        assert monotonic() - start < 60
        sleep(0.05)
    running.warm()
    assert answers(running, first)
    assert told < CANARY_S + 2
    assert ended < 5


def test_a_release_is_warm_before_it_is_taken(made: tuple[Host, Release]) -> None:
    running, _ = made
    release = write_release(WS, seed=4, live=False)
    running.add(release)
    for name, rows in triton_config.WARM.items():
        path = f"v2/models/{name}/versions/{release.number}/stats"
        (found,) = httpx.get(f"http://{running.server.address}/{path}").json()["model_stats"]
        assert rows in {one["batch_size"] for one in found["batch_stats"]}
    running.remove(release.number)


@pytest.mark.parametrize("act", ["load", "unload"])
def test_nobody_loads_or_unloads_a_model_by_request(made: tuple[Host, Release], act: str) -> None:
    running, first = made
    answer = httpx.post(f"http://{running.server.address}/v2/repository/models/ranker/{act}", json={})
    assert answer.status_code >= 400
    assert "not allowed" in answer.json()["error"]
    assert answers(running, first)


def test_what_a_version_reads_must_be_sent(made: tuple[Host, Release]) -> None:
    running, first = made
    arrays = question(first, "user_vector", 2)
    stage = first.stages["user_vector"]
    with Client(running.server, first.stages) as client:
        whole = client.infer("user_vector", arrays)["vector"]
    assert whole.shape[0] == 2
    import tritonclient.http as library

    connection = library.InferenceServerClient(running.server.address)
    history = library.InferInput("history", list(arrays["history"].shape), "INT64")
    history.set_data_from_numpy(arrays["history"])
    with pytest.raises(Exception, match="'user', 'examples', 'similarity' is missing"):
        connection.infer("user_vector", [history], model_version=str(stage.version))
    connection.close()
