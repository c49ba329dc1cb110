"""Services of other teams, which have Feast and Triton and no library of ours: real stores, a real Triton server."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pytest

from core.contracts import DENSE, HISTORY, UNKNOWN
from core.data import tables
from core.errors import LlmcfError
from core.settings import PROJECT, Workspace
from llmcf.feature_store import registry
from llmcf.feature_store.opening import open_store
from llmcf.serving.manifest import Release
from llmcf.serving.newcomers import Newcomers
from llmcf.serving.question import Question
from llmcf.serving.recommender import Recommender
from llmcf.serving.triton_client import Client
from llmcf.serving.triton_host import Host, host
from tests.online_release import make_release
from tests.without_llmcf import BLOCKED, score_without_llmcf

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def ws(online: Workspace) -> Workspace:
    return online


@dataclass(frozen=True, slots=True)
class World:
    """A Triton server with two releases, each with its recommender."""

    running: Host
    releases: tuple[Release, Release]
    recommenders: tuple[Recommender, Recommender]


@pytest.fixture(scope="module")
def world(ws: Workspace) -> Iterator[World]:
    first, second = make_release(ws, 0), make_release(ws, 1, live=False)
    with host(first) as running:
        running.add(second)
        yield World(running, (first, second), (Recommender.load(first), Recommender.load(second)))


@pytest.fixture(scope="module")
def store(ws: Workspace) -> Path:
    return ws.path("feast", registry.ONLINE)


@pytest.fixture
def client(world: World) -> Iterator[Client]:
    with Client(world.running.server, world.releases[0].stages) as connected:
        yield connected


def served(world: World, at: int, user: str, items: Sequence[str]) -> dict[str, float]:
    """P(click) as the service ranks, by item."""
    recommender, release = world.recommenders[at], world.releases[at]
    rows = [recommender.catalogue.rows[item] for item in items]
    with Client(world.running.server, release.stages) as client:
        ranked = recommender.rank(client, Question(user=user, candidates=rows, with_seen=True))
    assert ranked.score_C is not None
    names = [recommender.catalogue.item_ids[row] for row in ranked.item_C.tolist()]
    return dict(zip(names, ranked.score_C.tolist(), strict=True))


def test_a_service_with_feast_and_triton_alone_gets_the_scores_that_ours_gives(
    ws: Workspace, world: World, store: Path
) -> None:
    users, items = tables.users(ws)["raw_id"].to_pylist(), tables.items(ws)["raw_id"].to_pylist()
    day, address = world.recommenders[0].features.today(), world.running.server.address
    for at, user in ((0, users[3]), (1, users[7])):
        asked = [*items[at : at + 20], "no such item"]
        found = score_without_llmcf(store, address, str(world.releases[at].number), user, asked, day)
        assert found.pop("no such item") is None
        wanted = served(world, at, user, asked[:-1])
        assert found == pytest.approx(wanted, abs=1e-5)
        assert len(set(wanted.values())) > 10


def test_who_has_no_history_in_the_store_is_not_scored(world: World, store: Path) -> None:
    address = world.running.server.address
    assert score_without_llmcf(store, address, "1", "nobody", ["x", "y"], 20_000) == {"x": None, "y": None}


def question(recommender: Recommender, user: str, items: Sequence[str]) -> dict[str, np.ndarray]:
    """As another team would ask, out of our reader."""
    row = recommender.users.row_of(user)
    state = recommender.features.user(row or 0)
    assert state is not None
    rows, day = [recommender.catalogue.rows.get(item, 0) for item in items], recommender.features.today()
    return {
        "user_id": np.array([user.encode()], dtype=np.object_),
        "item_id": np.array([item.encode() for item in items], dtype=np.object_),
        "history": np.array(state["history"]),
        "activity": np.array([state["activity"]], dtype=np.float32),
        "day": np.array([day]),
        "dense": recommender.features.dense(state, rows, day),
    }


def test_many_items_some_of_them_twice_and_one_unknown(ws: Workspace, world: World, client: Client) -> None:
    recommender, user = world.recommenders[0], tables.users(ws)["raw_id"][5].as_py()
    items = tables.items(ws)["raw_id"].to_pylist()
    asked = [*items * 30, "no such item"]
    answer = client.score(question(recommender, user, asked))
    assert len(asked) > 1024
    assert (answer["item"] != UNKNOWN).tolist() == [True] * (len(asked) - 1) + [False]
    assert np.isfinite(answer["score"]).all()
    wanted = served(world, 0, user, items)
    np.testing.assert_allclose(answer["score"][:-1], [wanted[item] for item in asked[:-1]], atol=1e-5)


def test_an_item_of_a_moment_ago_is_scored_as_the_service_scores_it(
    ws: Workspace, world: World, client: Client
) -> None:
    recommender, user = world.recommenders[0], tables.users(ws)["raw_id"][2].as_py()
    text_1E = np.eye(1, 16, 3, dtype=np.float32)
    facts = {"brand_N": np.array([4]), "categories_NC": np.array([[2, 3, 0, 0, 0, 0]]), "text_NE": text_1E}
    row = recommender.release.items_end + 5
    new = Newcomers(row_N=np.array([row]), raw_ids=["fresh"], names=["Fresh"], brands=[""], categories=[[]], **facts)
    ranked = recommender.with_newcomers(new).rank(client, Question(user=user, candidates=[row], with_seen=True))
    assert ranked.score_C is not None
    assert ranked.dense_CX is not None
    asked = question(recommender, user, ["fresh"])
    told = {"brand": facts["brand_N"], "categories": facts["categories_NC"], "text": text_1E}
    answer = client.score({**asked, **told, "dense": ranked.dense_CX})
    assert answer["item"].tolist() == [UNKNOWN]
    assert answer["score"][0] == pytest.approx(ranked.score_C[0], abs=1e-5)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"history": None}, "'history' is missing"),
        ({"history": np.zeros(7, dtype=np.int64)}, "shape"),
        ({"dense": np.full((1, len(DENSE)), np.nan, dtype=np.float32)}, "not finite"),
        ({"item_id": None}, "item_id"),
        ({"day": np.array([-1])}, "not negative"),
    ],
)
def test_a_wrong_request_is_refused_and_the_model_lives(
    ws: Workspace, world: World, client: Client, change: dict[str, np.ndarray | None], words: str
) -> None:
    asked = question(world.recommenders[0], tables.users(ws)["raw_id"][5].as_py(), ["1"])
    with pytest.raises(LlmcfError, match=words):
        client.score({name: values for name, values in {**asked, **change}.items() if values is not None})
    assert client.score(asked)["score"].shape == (1,)


def test_no_items_are_no_scores(ws: Workspace, world: World, client: Client) -> None:
    asked = question(world.recommenders[0], tables.users(ws)["raw_id"][5].as_py(), ["1"])
    none = {name: asked[name][:0] for name in ("item_id", "dense")}
    assert client.score({**asked, **none})["score"].shape == (0,)


@pytest.fixture(scope="module")
def feast_http(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Feast's own HTTP server over the workspace's store, on loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    program = Path(sys.executable).with_name("feast")
    command = [program, "-c", store, "serve", "-h", "127.0.0.1", "-p", str(port), "-w", "1"]
    log = tmp_path_factory.mktemp("feast-serve") / "log"
    with log.open("wb") as stream:
        process = subprocess.Popen([*map(str, command)], stdout=stream, stderr=stream)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60.0) as http:
            _wait(http, process, log)
            yield http
    finally:
        process.terminate()
        process.wait(30)


def _wait(http: httpx.Client, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < end:
        try:
            if http.get("/health").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError(f"feast serve did not come up: {log.read_text(errors='replace')[-3000:]}")


def test_feasts_http_server_says_what_the_store_says(ws: Workspace, feast_http: httpx.Client) -> None:
    store = open_store(ws.path("feast"))
    user, items = tables.users(ws)["user"][3].as_py(), tables.offered(ws).tolist()[:5]
    entities = {"user": [user] * 5, "item": items, "day": [20_000] * 5}
    answer = feast_http.post("/get-online-features", json={"feature_service": "ranking", "entities": entities})
    assert answer.status_code == 200, answer.text
    told = answer.json()
    names = told["metadata"]["feature_names"]
    found = {name: one["values"] for name, one in zip(names, told["results"], strict=True)}
    rows = [{"user": user, "item": item, "day": 20_000} for item in items]
    plain = store.get_online_features(features=store.get_feature_service("ranking"), entity_rows=rows).to_dict()
    assert len(found["history"][0]) == HISTORY
    for name in ("history", *DENSE):
        np.testing.assert_allclose(np.array(found[name], float), np.array(plain[name], float), rtol=1e-6, err_msg=name)


def test_the_example_is_run_where_no_library_of_ours_can_be_imported(store: Path) -> None:
    """What the other tests rest on: `feast/` itself names our offline store, which is not there."""
    code = f"{BLOCKED}\nfrom feast import FeatureStore\nFeatureStore({str(store.parent)!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=PROJECT)
    assert "llmcf" in done.stderr
    assert done.returncode != 0
