"""A Redis that refuses, is gone or is another one: errors that say so, and never the credential."""

from pathlib import Path

import pytest

from core.errors import LlmcfError, UsageError
from core.settings import Workspace
from llmcf.feature_store import registry
from llmcf.online.rows import RedisRows, open_rows
from llmcf.online.views import View
from tests.redis_server import run_redis

pytestmark = pytest.mark.integration
WS = Workspace("movielens-100k", "published")


@pytest.mark.parametrize("fault", ["password", "port"])
def test_a_server_that_does_not_answer_is_named_without_the_credential(redis_server, monkeypatch, fault):
    secret = f"hush{redis_server.password}"
    connection = f"127.0.0.1:{redis_server.port if fault == 'password' else 1},password={secret}"
    monkeypatch.setenv("LLMCF_REDIS", connection)
    for ask in (lambda: registry.run(WS, "materialize"), lambda: RedisRows(connection, "project", "user")):
        with pytest.raises(LlmcfError, match=r"Redis at 127\.0\.0\.1:\d+ does not answer.*LLMCF_REDIS") as caught:
            ask()
        assert secret not in str(caught.value)


def test_a_server_that_goes_away_is_an_error_of_the_read(redis_server):
    del redis_server  # skips where there is none
    view = View("user_history", "user", ("history",), ttl=float("inf"))
    with run_redis() as server:
        rows = RedisRows(server.connection, "project", "user")
        assert rows.read([(view, [2])]) == [[None]]
    with pytest.raises(LlmcfError, match=r"does not answer") as caught:
        rows.read([(view, [2])])
    assert server.password not in str(caught.value)


def test_another_server_than_the_applied_one_is_refused(monkeypatch):
    applied = {"online_store": "redis", "project": "p", "connection": registry.connection_digest("cache:6379")}
    monkeypatch.setenv("LLMCF_REDIS", "127.0.0.1:2,password=hush")
    with pytest.raises(LlmcfError, match="in another Redis"):
        open_rows(WS, Path(), applied, "user")
    monkeypatch.delenv("LLMCF_REDIS")
    with pytest.raises(LlmcfError, match="in another Redis"):
        open_rows(WS, Path(), applied, "user")


def test_what_a_job_prints_is_shown_without_the_credential(redis_server, monkeypatch, tmp_path):
    """Feast's worker fails here on an argument that happens to be the password."""
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path))
    monkeypatch.setenv("LLMCF_REDIS", redis_server.connection)
    WS.path("feast").mkdir(parents=True)
    with pytest.raises(LlmcfError, match=r"KeyError: '\*\*\*'") as caught:
        registry.run(WS, redis_server.password)
    assert "failed" in str(caught.value)


def test_a_malformed_address_is_not_repeated(monkeypatch):
    monkeypatch.setenv("LLMCF_REDIS", "redis://:hush@cache")
    with pytest.raises(UsageError, match="LLMCF_REDIS is not") as caught:
        registry.run(WS, "apply")
    assert "hush" not in str(caught.value)
