"""What is said when something that Triton needs is missing."""

import os
from pathlib import Path

import pytest

from core.errors import LlmcfError
from llmcf.serving import triton_install


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path / "home"))


def test_an_unbuilt_environment_names_the_make_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMCF_ENVS", str(tmp_path))
    with pytest.raises(LlmcfError, match="make env-triton"):
        triton_install.find()


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("echo 'No package metadata was found for nvidia-pytriton' >&2; exit 1", "nvidia-pytriton"),
        ("exit 3", "exit code 3"),
    ],
)
def test_a_damaged_environment_names_the_make_target(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, told: str
) -> None:
    monkeypatch.setenv("LLMCF_ENVS", str(tmp_path))
    python = tmp_path / "triton" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    with pytest.raises(LlmcfError, match=rf"{told}.*make env-triton"):
        triton_install.find()


def test_a_missing_libpython_names_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = {"LIBDIR": str(tmp_path), "MULTIARCH": "none", "py_version_short": "3.11"}
    monkeypatch.setattr(triton_install.ctypes.util, "find_library", lambda name: None)
    with pytest.raises(LlmcfError, match=r"apt-get install libpython3\.11"):
        triton_install._libpython_folder(facts)


@pytest.mark.parametrize("library", ["glibc 2.31", "musl 1.2"])
def test_an_old_system_is_named(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "confstr", lambda name: library)
    with pytest.raises(LlmcfError, match=r"2\.35 or newer, here is " + library):
        triton_install.find()


def test_the_backend_is_a_library_its_utilities_and_a_stub() -> None:
    backend = triton_install.find().backend
    assert [file.name for file in backend] == [
        "libtriton_python.so",
        "triton_python_backend_utils.py",
        "triton_python_backend_stub",
    ]
    assert all(file.is_file() for file in backend)
    assert os.access(backend[-1], os.X_OK)
