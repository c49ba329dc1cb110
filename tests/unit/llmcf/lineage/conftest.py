"""A home of a test's own, with the raw files in it, which the test may spoil."""

import shutil
from pathlib import Path

import pytest

from core.settings import Workspace
from tests.official_files import prepared

WS = Workspace("movielens-100k", "shuffled-ties")


@pytest.fixture(scope="session")
def template(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared home whose raw files lie in its folder raw/."""
    folder = tmp_path_factory.mktemp("template")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMCF_HOME", str(folder))
        prepared(WS, Path(shutil.copytree(source, folder / "raw")))
    return folder


@pytest.fixture
def home_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home; releases, reports and results are the test's own, too."""
    for variable, name in {"HOME": "home", "RUNS": "runs", "RESULTS": "results", "TRITON_MODELS": "models"}.items():
        monkeypatch.setenv(f"LLMCF_{variable}", str(tmp_path / name))
    return tmp_path / "home"


@pytest.fixture
def ws(home_of_its_own: Path, template: Path) -> Workspace:
    """The workspace with data/, features/ and training/."""
    shutil.copytree(template, home_of_its_own)
    return WS


@pytest.fixture
def raw(ws: Workspace) -> Path:
    """The folder of the raw files."""
    return ws.root.parents[2] / "raw"
