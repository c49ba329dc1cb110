"""Releases: whole or not there, of one workspace, the last three kept."""

import dataclasses
import shutil
from pathlib import Path

import onnx
import pytest

from core import storage
from core.errors import LlmcfError
from core.settings import Workspace
from llmcf.serving import releases
from tests.synthetic_release import write_release

WS = Workspace("movielens-100k", "shuffled-ties")


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLMCF_TRITON_MODELS", str(tmp_path))
    write_release(tmp_path, WS)
    return tmp_path


def test_a_release_says_what_its_files_are(repository: Path) -> None:
    release = releases.require(WS)
    facts = releases.manifest(repository, "ranker", release.number)
    assert release.number == 1
    assert facts["sha256"] == storage.sha256(repository / "ranker" / "1" / "model.onnx")
    assert facts["inputs"] == ["user", "item", "history", "dense", "examples", "similarity"]


def test_none_is_served_where_the_models_disagree(repository: Path) -> None:
    write_release(repository, WS)
    shutil.rmtree(repository / "ranker" / "2")  # as a run killed between the two renames leaves it
    assert releases.newest(repository) is None
    with pytest.raises(LlmcfError, match="llmcf export --dataset movielens-100k --order shuffled-ties"):
        releases.require(WS)
    assert write_release(repository, WS).number == 3


def test_none_is_served_where_the_sources_disagree(repository: Path) -> None:
    write_release(repository, WS, seed=1)
    path = repository / "ranker" / "2" / "manifest.json"
    storage.write_json(path, {**storage.read_json(path), "source": "another"})
    assert releases.newest(repository) is None


def test_the_release_of_another_workspace_is_refused(repository: Path) -> None:
    with pytest.raises(LlmcfError, match=r"not of movielens-100k published.*llmcf export"):
        releases.require(Workspace("movielens-100k", "published"))


def test_a_failed_export_leaves_the_last_release(repository: Path) -> None:
    release = releases.newest(repository)
    assert release is not None
    (repository / "ranker" / ".9.1.tmp").mkdir()  # of a killed run
    good = releases.Graph(repository / "ranker" / "1" / "model.onnx", {})
    with pytest.raises(LlmcfError, match=r"user_vector does not keep to core\.contracts"):
        releases.add(repository, dataclasses.replace(release, number=2), {"ranker": good, "user_vector": good})
    assert releases.newest(repository) == release
    assert sorted(path.name for path in (repository / "ranker").iterdir()) == ["1", "config.pbtxt"]


def test_a_graph_that_breaks_the_contract_is_refused(repository: Path) -> None:
    path = repository / "ranker" / "1" / "model.onnx"
    model = onnx.load(path)
    model.graph.output[0].name = model.graph.node[-1].output[0] = "logit"
    onnx.save(model, path)
    with pytest.raises(LlmcfError, match="logit"):
        releases.check_graph(path, "ranker")


def test_the_last_three_are_kept(repository: Path) -> None:
    for _ in range(3):
        write_release(repository, WS)
    releases.prune(repository)
    assert releases.numbers(repository, "ranker") == releases.numbers(repository, "user_vector") == [2, 3, 4]
