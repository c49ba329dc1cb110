"""What the integration tests share: a language model, a Redis server."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from core import environments
from core.errors import LlmcfError
from llm import fetch, models
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
def redis_server() -> Iterator[RedisServer]:
    """A Redis of the session's own, with a password."""
    try:
        environments.redis_server()
    except LlmcfError as error:
        pytest.skip(str(error))
    with run_redis() as server:
        yield server
