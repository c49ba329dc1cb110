"""What the integration tests share: language models, a small world of a test's own, servers of Redis and Milvus."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from core import environments, settings
from core.data import features
from core.errors import LlmcfError
from core.settings import Workspace
from llm import fetch, models
from llmcf.feature_store import jobs
from tests import tiny_llama
from tests.milvus_server import TOKEN, MilvusServer, run_milvus
from tests.redis_server import RedisServer, run_redis


@pytest.fixture(scope="session")
def language_model(home: Path) -> Path:
    """The carried language model, fetched and converted once into the real home."""
    del home  # named so that its variables are set first
    try:
        fetch.fetch()
    except LlmcfError as error:
        pytest.skip(f"the carried models cannot be fetched: {error}")
    return models.llm_path(models.LLM)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder that is read in no time, for prompts and for engines that are played; to be read only."""
    return tiny_llama.write(tmp_path_factory.mktemp("tiny-llama"))


@pytest.fixture
def place(tiny: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """The small world seen from a home of the test's own: an empty cache."""
    for folder in ("data", "training"):
        target = tmp_path / tiny.root.relative_to(settings.home()) / folder
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(tiny.path(folder))
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path))
    return tiny


@pytest.fixture(scope="module")
def online(own: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """The module's copy of the small world with its features online, beside a Triton repository of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMCF_TRITON_MODELS", str(tmp_path_factory.mktemp("models")))
        patch.setenv("LLMCF_RUNS", str(tmp_path_factory.mktemp("runs")))
        features.build(own)
        jobs.apply(own)
        jobs.materialize(own)
        yield own


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A Redis of the session's own, with a password."""
    try:
        environments.redis_server()
    except LlmcfError as error:
        pytest.skip(str(error))
    with run_redis() as server:
        yield server


@pytest.fixture(scope="module")
def milvus_server() -> Iterator[MilvusServer]:
    """A Milvus server of the module's own, with a password. There is one at a time: another process's module waits."""
    try:
        environments.python("milvus")
    except LlmcfError as error:
        pytest.skip(str(error))
    with run_milvus() as server:
        yield server


@pytest.fixture(params=["lite", "server"])
def each_milvus(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Once on the Milvus Lite of the test's home, once on a server."""
    if request.param == "server":
        server: MilvusServer = request.getfixturevalue("milvus_server")
        monkeypatch.setenv("LLMCF_MILVUS_URI", server.uri)
        monkeypatch.setenv("LLMCF_MILVUS_TOKEN", TOKEN)
    return request.param
