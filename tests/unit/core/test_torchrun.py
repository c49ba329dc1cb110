"""What the processes of torchrun are given."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from core import torchrun


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[Mapping[str, str]]:
    """The variables of each launch, which starts nothing on a machine of sixteen cores."""
    found: list[Mapping[str, str]] = []
    monkeypatch.setattr(torchrun, "watch", lambda command, *, shown, environment: found.append(environment))
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(16)))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    return found


@pytest.mark.parametrize(("processes", "threads"), [(1, "16"), (2, "8"), (5, "3"), (32, "1")])
def test_processes_share_the_cores(
    given: list[Mapping[str, str]], tmp_path: Path, processes: int, threads: str
) -> None:
    torchrun.launch("any", tmp_path / "job.json", shown="", processes=processes)
    assert given[0]["OMP_NUM_THREADS"] == threads
    assert given[0]["PATH"] == os.environ["PATH"]


def test_what_is_told_stands(given: list[Mapping[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    torchrun.launch("any", tmp_path / "job.json", shown="", processes=2)
    torchrun.launch("any", tmp_path / "job.json", shown="", processes=2, environment={"OMP_NUM_THREADS": "5"})
    assert [one["OMP_NUM_THREADS"] for one in given] == ["3", "5"]
