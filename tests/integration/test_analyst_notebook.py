"""examples/analyst.ipynb, cell by cell in a process of its own, on the small world; it trains two small rankers."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from core import settings
from core.settings import PROJECT, Workspace

pytestmark = pytest.mark.integration

NOTEBOOK = PROJECT / "examples" / "analyst.ipynb"


def cells(kind: str) -> list[str]:
    told = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    return ["".join(cell["source"]) for cell in told["cells"] if cell["cell_type"] == kind]


def test_it_is_kept_without_outputs() -> None:
    told = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    code = [cell for cell in told["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    assert len({cell["id"] for cell in told["cells"]}) == len(told["cells"])


def test_its_cells_run_in_order(own: Workspace, tmp_path: Path) -> None:
    marked = [f"{cell}\nprint('[cell {number}]')" for number, cell in enumerate(cells("code"))]
    script = tmp_path / "notebook.py"
    script.write_text("\n\n".join(marked), encoding="utf-8")
    variables = {
        "LLMCF_HOME": str(settings.home()),
        "LLMCF_RUNS": str(tmp_path / "runs"),
        "LLMCF_RESULTS": str(tmp_path / "results"),
        "LLMCF_TRITON_MODELS": str(tmp_path / "models"),
        "MPLBACKEND": "Agg",
        "PYTHONPATH": str(PROJECT),
    }
    done = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning:__main__", str(script)],
        env=os.environ | variables, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    assert f"[cell {len(marked) - 1}]" in done.stdout
    assert "deepfm trained AUC" in done.stdout
    assert "the same test rows" in done.stdout
    assert f"{own.dataset}/{own.order}/{own.as_of}/data  tables" in done.stdout
    assert list((tmp_path / "runs").glob("compare-*/report.html"))


@pytest.mark.parametrize("name", ["prepare", "features", "generate", "embed", "index", "report", "export", "recommend"])
def test_what_its_text_names_is_there(name: str) -> None:
    from llmcf import api

    assert f"api.{name}" in "\n".join(cells("markdown"))
    assert name in api.__all__
