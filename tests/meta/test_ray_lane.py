"""Tests on Ray run where its environment is built; where Ray cannot be fetched, `make env` goes on without it."""

import subprocess
from pathlib import Path

import pytest

from core import environments
from core.errors import LlmcfError
from core.settings import PROJECT


def test_a_lane_that_was_never_built_names_the_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMCF_ENVS", str(tmp_path))
    with pytest.raises(LlmcfError, match="run `make env-ray` first"):
        environments.python("ray")


@pytest.mark.parametrize(("target", "code"), [("env-ray", 2), ("env-ray-if-any", 0)])
def test_where_ray_cannot_be_fetched_the_other_environments_are_built_all_the_same(
    target: str, code: int, tmp_path: Path
) -> None:
    (tmp_path / "Makefile").write_text((PROJECT / "Makefile").read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements" / "ray.lock.txt").touch()
    build = tmp_path / "requirements" / "build.sh"
    build.write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    build.chmod(0o755)
    done = subprocess.run(["make", target], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert ("`make env-ray` tries again" in done.stderr) == (code == 0)


@pytest.mark.parametrize("target", ["env", "test"])
def test_ray_is_built_in_passing(target: str) -> None:
    planned = subprocess.run(["make", "-n", target], cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    assert " env-ray-if-any" in planned
