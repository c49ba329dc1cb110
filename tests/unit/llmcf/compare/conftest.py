"""A home of a module's own with two rankers, two retrieval models and two releases of them."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from core import settings
from core.settings import Workspace
from tests import trained_runs


@dataclass(frozen=True)
class Made:
    """The workspace and its runs: the first ranker knows less than the second."""

    ws: Workspace
    rankers: tuple[Path, Path]
    towers: tuple[Path, Path]


@pytest.fixture(scope="module")
def made(tiny: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    folder, before = tmp_path_factory.mktemp("compared"), settings.home()
    shutil.copytree(before / tiny.dataset, folder / "home" / tiny.dataset)
    with pytest.MonkeyPatch.context() as patch:
        for variable, name in {"HOME": "home", "RUNS": "runs", "TRITON_MODELS": "models"}.items():
            patch.setenv(f"LLMCF_{variable}", str(folder / name))
        rankers = trained_runs.rank(tiny, signal=0.5), trained_runs.rank(tiny, signal=3.0, seed=2024)
        towers = trained_runs.retrieve(tiny), trained_runs.retrieve(tiny, worst=60, seed=2024)
        for pair in zip(rankers, towers, strict=True):
            trained_runs.release(tiny, *pair)
        yield Made(tiny, rankers, towers)
