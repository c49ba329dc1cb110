"""Tests on a real Redis or Chromium run where one is found; where not, the reason they are skipped has the remedy."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from core import environments
from core.errors import LlmcfError
from core.settings import PROJECT

LANES = pytest.mark.parametrize(
    ("name", "find", "package", "version"),
    [
        ("redis", environments.redis_server, "redis-server", "Redis server"),
        ("chromium", environments.chromium, "chromium", "Chrom"),
    ],
)
Find = Callable[[], Path]


@LANES
def test_a_lane_runs_or_says_what_it_lacks(name: str, find: Find, package: str, version: str) -> None:
    try:
        program = find()
    except LlmcfError as error:
        assert f"make env-{name}" in str(error)
        return
    assert version in subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout


@LANES
def test_a_machine_without_it_and_packages_is_told_the_remedy(
    name: str, find: Find, package: str, version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in ("mkdir", "rm", "cat"):
        (tools / tool).symlink_to(f"/bin/{tool}")
    command = ["/bin/bash", str(PROJECT / "requirements" / f"{name}.sh"), str(tmp_path / name)]
    done = subprocess.run(command, env={"PATH": str(tools)}, capture_output=True, text=True)
    assert done.returncode == 0, "the other environments are built all the same"
    assert len(done.stderr.splitlines()) == 1
    monkeypatch.setenv("LLMCF_ENVS", str(tmp_path))
    with pytest.raises(LlmcfError, match=rf"apt-get install {package}.*make env-{name}"):
        find()


@LANES
def test_a_lane_that_was_never_built_names_the_target(
    name: str, find: Find, package: str, version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMCF_ENVS", str(tmp_path))
    with pytest.raises(LlmcfError, match=f"run `make env-{name}` first"):
        find()
