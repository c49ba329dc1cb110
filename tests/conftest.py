"""Fixtures every test may use. Tests never write into the project's own var/ or runs/."""

import gc
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core import settings
from core.data import features
from core.data.prepare import prepare
from core.errors import LlmcfError
from core.settings import Workspace
from llm.contexts import Context
from tests.hostile import arrived
from tests.official_files import prepared, write

REAL_HOME = settings.home()
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as the command line sets it, before a thread pool is there
_STARTS = str(Path(__file__).with_name("starts"))
os.environ["PYTHONPATH"] = os.pathsep.join([_STARTS, *filter(None, [os.environ.get("PYTHONPATH")])])
gc.set_threshold(50_000, 20, 50)  # a worker holds what every test imports: passing over it took a fourth of its time


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """How several workers share the tests."""
    from tests.distribution import ByFile

    return ByFile(config, log) if config.getvalue("dist") == "loadfile" else None


@pytest.fixture(scope="session", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home of the session's own; what is slow to fetch, convert or compile is shared with the real one."""
    folder = tmp_path_factory.mktemp("home")
    for name in ("wheels", "models", "torch-extensions"):
        (REAL_HOME / name).mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(REAL_HOME / name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMCF_HOME", str(folder))
        patch.setenv("LLMCF_RUNS", str(folder / "runs"))
        patch.setenv("LLMCF_RESULTS", str(folder / "results"))
        yield folder


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A `--source` folder in MovieLens' official format: 40 users, 60 items."""
    return write(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="session")
def tiny(home: Path, source: Path) -> Workspace:
    """A small workspace with data/, features/ and training/. Training rows come from the reference, not from Feast:
    tests/integration/test_feast.py proves that the two are equal."""
    ws = Workspace("movielens-100k", "shuffled-ties")
    return prepared(ws, source)


@pytest.fixture(scope="session")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Context]:
    """Contexts out of texts that attack a prompt, by the raw text."""
    folder = tmp_path_factory.mktemp("hostile")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMCF_HOME", str(folder))
        return arrived(Workspace("custom", "global-time"), folder / "source")


@pytest.fixture(scope="module")
def own(tiny: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """A copy of the tiny workspace in a home of the module's own, to be added to."""
    made, home = settings.home() / tiny.dataset, tmp_path_factory.mktemp("own")
    shutil.copytree(made, home / tiny.dataset)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMCF_HOME", str(home))
        yield tiny


@pytest.fixture
def real(monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """The real MovieLens-100K under the project's own home, data/ and features/ prepared; to be read only."""
    monkeypatch.setenv("LLMCF_HOME", str(REAL_HOME))
    ws = Workspace("movielens-100k", "shuffled-ties")
    try:
        prepare(ws, source=None, seed=2023)
        features.build(ws)
    except LlmcfError as error:
        pytest.skip(f"MovieLens-100K cannot be prepared here: {error}")
    return ws


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of optional local data."""
    folder = settings.shared()
    if not (folder / "data").is_dir():
        pytest.skip("no local data: LLMCF_SHARED names no folder with data/")
    return folder
