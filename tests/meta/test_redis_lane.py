"""Tests on a real Redis run where a server is found; where not, the reason they are skipped with names the remedy."""

import subprocess

import pytest

from core import environments
from core.errors import LlmcfError
from core.settings import PROJECT

SCRIPT = PROJECT / "requirements" / "redis.sh"


def test_the_lane_runs_or_says_what_it_lacks() -> None:
    try:
        program = environments.redis_server()
    except LlmcfError as error:
        assert "make env-redis" in str(error)
        return
    assert "Redis server" in subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout


def test_a_machine_without_redis_and_packages_is_told_the_remedy(tmp_path, monkeypatch) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("mkdir", "rm", "cat"):
        (tools / name).symlink_to(f"/bin/{name}")
    command = ["/bin/bash", str(SCRIPT), str(tmp_path / "redis")]
    done = subprocess.run(command, env={"PATH": str(tools)}, capture_output=True, text=True)
    assert done.returncode == 0, "the other environments are built all the same"
    assert len(done.stderr.splitlines()) == 1
    monkeypatch.setenv("LLMCF_ENVS", str(tmp_path))
    with pytest.raises(LlmcfError, match=r"apt-get install redis-server.*make env-redis"):
        environments.redis_server()


def test_a_lane_that_was_never_built_names_the_target(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("LLMCF_ENVS", str(tmp_path))
    with pytest.raises(LlmcfError, match="run `make env-redis` first"):
        environments.redis_server()
