"""Vectors of whole texts are those of the index's rows, or refused."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from core import steps
from core.errors import Missing
from core.settings import Workspace
from ict.whole import FILE, whole_vectors


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path))
    return Workspace("movielens-100k", "shuffled-ties")


def test_there_are_none_before_they_were_asked_for(ws: Workspace) -> None:
    assert whole_vectors(ws, np.array([1, 2])) is None


def test_they_are_of_the_same_rows(ws: Workspace) -> None:
    def write(folder: Path) -> dict[str, object]:
        save_file({"rows": np.array([3, 8]), "whole": np.eye(2, 4, dtype=np.float32)}, folder / FILE)
        return {}

    steps.run(steps.Step(folder=ws.cot("whole"), config={}), write)
    found = whole_vectors(ws, np.array([3, 8]))
    assert found is not None
    assert found.tolist() == np.eye(2, 4).tolist()
    with pytest.raises(Missing, match="of other rows than the chains of thought; run `llmcf cot embed --whole"):
        whole_vectors(ws, np.array([3, 9]))
