"""Two trained runs become a release that Triton serves, once, and again only when something has changed."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from core import settings
from core.data import tables
from core.errors import LlmcfError
from core.result import Result
from core.settings import Workspace
from ict import milvus
from ict.examples import ExampleSet
from llmcf.serving import export, releases
from llmcf.serving.triton_client import canary
from llmcf.serving.triton_server import run_triton
from ranking import trainer as ranking_trainer
from retrieval_stage import trainer as retrieval_trainer
from retrieval_stage.export import UserVectorExport
from retrieval_stage.items import KIND, ItemReplica
from tests.in_memory import item_vectors, write_cot_set

pytestmark = pytest.mark.integration
CHOICE = {"framework": "llm-cf", "recipe": "strict", "seed": 1}


@pytest.fixture(scope="module")
def ws(own: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """A copy of the tiny workspace with examples and both stages trained for an epoch."""
    rows = tables.training_rows(own)
    sample = torch.from_numpy(np.flatnonzero(rows["split"].to_numpy() == "train")[::5].copy())
    cot = torch.nn.functional.normalize(torch.randn(len(sample), 16), dim=-1)
    vectors = item_vectors(items=tables.items(own).num_rows)
    write_cot_set(own, ExampleSet.of(rows, sample, cot, vectors))
    ranking_trainer.train(own, model="deepfm", epochs=1, **CHOICE)
    retrieval_trainer.train(own, model="sasrec", epochs=1, **CHOICE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMCF_TRITON_MODELS", str(tmp_path_factory.mktemp("models")))
        yield own


def export_again(ws: Workspace) -> Result:
    return export.export(ws, model="deepfm", retrieval_model="sasrec", **CHOICE)


@pytest.fixture(scope="module")
def first(ws: Workspace) -> Result:
    return export_again(ws)


def test_a_release_says_what_it_was_made_from(ws: Workspace, first: Result) -> None:
    release = releases.require(ws)
    assert not first.skipped
    assert (release.number, release.framework, release.seed) == (1, "llm-cf", 1)
    assert release.backbones == {"ranker": "deepfm", "user_vector": "sasrec"}
    assert set(release.collections) == {"cot", "items"}
    for folder in first.artifacts.values():
        assert {path.name for path in Path(folder).iterdir()} == {"model.onnx", "model.py", "manifest.json"}
    assert set(first.details["inputs"]["ranker"]) == {"user", "item", "history", "examples"}


def test_nothing_is_made_twice(ws: Workspace, first: Result) -> None:
    again = export_again(ws)
    assert again.skipped
    assert again.details["release"] == first.details["release"]
    assert again.artifacts == first.artifacts


def test_triton_serves_what_was_exported(ws: Workspace, first: Result) -> None:
    with run_triton(settings.triton_models()) as server:
        canary(server, settings.triton_models())


def test_lost_item_vectors_are_published_anew(ws: Workspace, first: Result, monkeypatch: pytest.MonkeyPatch) -> None:
    """The graphs are copied from the first release: exporting them takes its time and is not the point here."""
    vectors = ItemReplica.load(ws)

    def copy(name: str, path: Path) -> None:
        shutil.copy(Path(first.artifacts[name]) / "model.onnx", path)

    def export_ranker(ws: Workspace, *, path: Path, **_: object) -> dict[str, object]:
        copy("ranker", path)
        return {}

    def export_user_vector(ws: Workspace, *, path: Path, **_: object) -> UserVectorExport:
        copy("user_vector", path)
        return UserVectorExport({}, vectors.ids_V, vectors.vectors_VW)

    monkeypatch.setattr("ranking.export.export_onnx", export_ranker)
    monkeypatch.setattr("retrieval_stage.export.export_onnx", export_user_vector)
    with milvus.connect(ws) as client:
        client.drop_alias(milvus.alias(ws, KIND))
        client.drop_collection(vectors.collection)
    again = export_again(ws)
    assert not again.skipped
    assert again.details["release"] == first.details["release"] + 1
    np.testing.assert_array_equal(ItemReplica.load(ws).vectors_VW, vectors.vectors_VW)


def test_an_untrained_run_names_its_verb(ws: Workspace) -> None:
    with pytest.raises(
        LlmcfError, match=r"llmcf rank train .*--model deepfm --framework llm-cf --recipe strict --seed 7"
    ):
        export.export(ws, model="deepfm", retrieval_model="sasrec", framework="llm-cf", recipe="strict", seed=7)
