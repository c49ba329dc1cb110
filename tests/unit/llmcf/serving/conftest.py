"""What tests of releases share."""

from collections.abc import Callable
from pathlib import Path

import pytest

from core import storage
from core.contracts import CONTRACT
from llmcf.serving import manifest
from llmcf.serving.manifest import Release


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty repository of releases and an empty home."""
    monkeypatch.setenv("LLMCF_TRITON_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path / "home"))
    return tmp_path / "models"


def _of_another_contract(release: Release) -> None:
    path = release.folder / manifest.FILE
    storage.write_json(path, storage.read_json(path) | {"contract": CONTRACT - 1})


def _without_a_manifest(release: Release) -> None:
    (release.folder / manifest.FILE).unlink()


SPOILT = {"contract 2": _of_another_contract, manifest.FILE: _without_a_manifest}


@pytest.fixture(params=SPOILT)
def spoil(request: pytest.FixtureRequest) -> Callable[[Release], None]:
    """Makes a release one that cannot be read."""
    return SPOILT[request.param]
