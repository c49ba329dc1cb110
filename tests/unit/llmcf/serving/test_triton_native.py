"""A release's models for the native backend."""

from pathlib import Path

import pytest

from core.errors import UsageError
from core.settings import Workspace
from llmcf.serving import triton_native
from tests.synthetic_release import write_release


def test_graphs_stay_and_the_code_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LLMCF_TRITON_MODELS", str(tmp_path / "models"))
    release = write_release(Workspace("movielens-100k", "shuffled-ties"), live=False)
    made = tmp_path / "native"
    triton_native.write(release, made)
    for name, stage in release.stages.items():
        text = (made / name / "config.pbtxt").read_text(encoding="utf-8")
        assert 'backend: "onnxruntime"' in text
        assert "optional" not in text
        assert all(f'"{tensor.name}"' in text for tensor in stage.inputs)
        graph = f"{name}/{stage.version}/model.onnx"
        assert (made / graph).read_bytes() == (release.models / graph).read_bytes()
    assert {path.name for path in made.iterdir()} == set(release.stages), "what is code is left out"
    assert not list(made.rglob("*.py"))
    with pytest.raises(UsageError, match="is there already"):
        triton_native.write(release, made)
