"""The Redis server that tests and benchmarks start."""

from pathlib import Path

import psutil
import pytest
from redis import AuthenticationError, Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from core import environments
from core.errors import LlmcfError
from tests.redis_server import HOST, run_redis


@pytest.fixture(autouse=True)
def program() -> None:
    try:
        environments.redis_server()
    except LlmcfError as error:
        pytest.skip(str(error))


def test_it_wants_its_password_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with run_redis() as server:
        line = " ".join(psutil.Process(server.pid).cmdline())
        assert server.password not in line
        assert HOST in line
        assert server.password not in repr(server)
        with Redis(host=HOST, port=server.port, password=server.password) as client:
            assert client.set("key", "value")
            assert client.config_get("save") == {"save": ""}
        once = Retry(NoBackoff(), 0)
        with Redis(host=HOST, port=server.port, retry=once) as stranger, pytest.raises(AuthenticationError):
            stranger.get("key")
    assert not psutil.pid_exists(server.pid)
    assert not list(tmp_path.iterdir())


def test_one_that_was_killed_runs_again_as_it_was(tmp_path: Path) -> None:
    with run_redis(tmp_path) as server, Redis(host=HOST, port=server.port, password=server.password) as client:
        client.set("key", "value")
        psutil.Process(server.pid).kill()
    with run_redis(tmp_path, like=server) as again:
        assert (again.port, again.password) == (server.port, server.password)
        with Redis(host=HOST, port=again.port, password=again.password) as client:
            assert client.get("key") == b"value"


def test_a_program_that_is_no_redis_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "redis-server"
    fake.write_text("#!/bin/sh\necho no such luck\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setattr(environments, "redis_server", lambda: fake)
    with pytest.raises(LlmcfError, match=r"(?s)did not get ready.*no such luck"), run_redis():
        pass
