"""`retrieve train` and its export, end to end on the tiny workspace."""

from pathlib import Path

import numpy as np
import onnxruntime
import pyarrow.parquet as pq
import pytest

from core import steps, storage
from core.data import tables
from core.errors import LlmcfError
from core.result import Result
from core.settings import Workspace
from ict import onnx
from ict.examples import ExampleSet
from retrieval_stage import account, export, trainer
from retrieval_stage.export import UserVectorExport
from retrieval_stage.recipes import resolve
from tests import in_memory

pytestmark = pytest.mark.integration

SEED = 11


@pytest.fixture(scope="module")
def ws(own: Workspace) -> Workspace:
    """A copy of the tiny workspace with an invented CoT set."""
    rows, items = tables.training_rows(own), len(tables.items(own))
    in_memory.write_cot_set(own, in_memory.example_set(rows, items=items))
    return own


def train(ws: Workspace, framework: str, *, epochs: int = 2, recipe: str = "strict") -> Result:
    return trainer.train(ws, model="sasrec", framework=framework, recipe=recipe, seed=SEED, epochs=epochs)


def test_training_is_skipped_repeatable_and_beats_nothing_by_accident(ws: Workspace) -> None:
    first = train(ws, "none")
    assert not first.skipped
    assert train(ws, "none").skipped
    folder = Path(first.artifacts["model"]).parent
    content = steps.content_of(folder)
    storage.write_json(Path(first.artifacts["losses"]), [])  # a changed output: the step is not whole any more
    again = train(ws, "none")
    assert not again.skipped
    assert steps.content_of(folder) == content, "every byte, as downstream steps are told by them"
    assert again.metrics == first.metrics


def test_ranks_are_written_for_every_validation_and_test_row(ws: Workspace) -> None:
    result = train(ws, "none")
    ranks = pq.read_table(result.artifacts["scores"])
    users = len(tables.users(ws))
    assert ranks.num_rows == 2 * users
    test = ranks.filter(np.array(ranks["split"].to_pylist()) == "test")
    masked, unmasked = test["rank_masked"].to_numpy(), test["rank_unmasked"].to_numpy()
    assert (masked >= 1).all()
    assert (masked <= unmasked).all()
    assert result.metrics["test"]["masked"]["hit@10"] == pytest.approx((masked <= 10).mean())
    assert set(result.metrics["valid"]["unmasked"]) == {"hit@5", "hit@10", "ndcg@5", "ndcg@10"}
    segments = account.by_segment(ranks, tables.training_rows(ws))
    assert segments == result.details["segments"]
    assert sum(segments[name]["rows"] for name in segments if name.startswith("history")) == users
    low, high = result.details["intervals"]["hit@10"]
    assert low <= result.metrics["test"]["masked"]["hit@10"] <= high
    assert 0 < result.details["coverage"] <= 1
    assert result.details["mean_popularity"] > 0
    assert set(result.details["popularity"]) == {"masked", "unmasked"}
    entries = storage.read_json(Path(result.artifacts["losses"]))
    assert [entry["epoch"] for entry in entries] == [1, 2]
    assert entries[1]["loss"] < entries[0]["loss"]


def write_graph(ws: Workspace, folder: Path, framework: str = "none", recipe: str = "strict") -> UserVectorExport:
    named = resolve(model="sasrec", framework=framework, recipe=recipe, seed=SEED)
    return export.export_graph(ws, named, folder, folder / "kept.safetensors")


@pytest.mark.parametrize(
    ("framework", "recipe", "inputs"),
    [
        ("none", "strict", ["user", "history"]),
        ("llm-cf", "strict", ["user", "history", "examples"]),
        ("llm-cf", "best", ["user", "history", "examples", "similarity"]),
    ],
)
def test_the_exported_graph_gives_the_trained_vectors(
    ws: Workspace, tmp_path: Path, framework: str, recipe: str, inputs: list[str]
) -> None:
    result = train(ws, framework, epochs=1, recipe=recipe)
    made = write_graph(ws, tmp_path, framework, recipe)
    assert made.facts["metrics"] == result.metrics
    assert len(made.item_ids) == len(made.item_vectors) == len(tables.items(ws))
    session = onnxruntime.InferenceSession(tmp_path / onnx.MODEL)
    assert [graph_input.name for graph_input in session.get_inputs()] == inputs
    vectors = answers(session, inputs)
    assert vectors.shape == (2, 64)
    assert np.isfinite(vectors).all()


def answers(session: onnxruntime.InferenceSession, inputs: list[str]) -> np.ndarray:
    """User vectors of a known user and of one beyond the vocabulary."""
    feed = {"user": np.array([2, 10**6]), "history": np.full((2, 20), 3, np.int64)}
    feed |= {"examples": np.full((2, 4), 1, np.int64), "similarity": np.full((2, 4), 0.5, np.float32)}
    return np.asarray(session.run(["vector"], {name: feed[name] for name in inputs})[0])


def test_a_refresh_of_the_same_workspace_changes_nothing(ws: Workspace, tmp_path: Path) -> None:
    train(ws, "llm-cf", epochs=1)
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
    made = write_graph(ws, first, "llm-cf")
    again = export.refresh_graph(ws, first / "kept.safetensors", first, second)
    np.testing.assert_array_equal(again.item_vectors, made.item_vectors)
    inputs = ["user", "history", "examples"]
    before, after = (answers(onnxruntime.InferenceSession(one / onnx.MODEL), inputs) for one in (first, second))
    np.testing.assert_allclose(after, before, atol=1e-6)


def test_a_model_older_than_its_inputs_is_not_exported(ws: Workspace, tmp_path: Path) -> None:
    train(ws, "llm-cf", epochs=1)
    texts = ws.path("cot", "texts")
    stamp = storage.read_json(texts / "step.json")
    storage.write_json(texts / "step.json", {**stamp, "content": "another"})
    try:
        with pytest.raises(LlmcfError, match=r"older than its inputs.*llmcf retrieve train .* --framework llm-cf"):
            write_graph(ws, tmp_path, "llm-cf")
    finally:
        storage.write_json(texts / "step.json", stamp)
    assert not list(tmp_path.iterdir())


def test_missing_inputs_name_the_verb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ws: Workspace) -> None:
    assert ExampleSet.load(ws).count > 0
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path))
    with pytest.raises(LlmcfError, match="llmcf features join"):
        train(ws, "none")
    with pytest.raises(LlmcfError, match="llmcf retrieve train"):
        write_graph(ws, tmp_path)


def test_the_estimate_grows_with_epochs_and_framework(ws: Workspace) -> None:
    def seconds(framework: str, epochs: int) -> float:
        estimate = trainer.estimate_train(ws, model="sasrec", framework=framework, recipe="strict", epochs=epochs)
        return estimate.seconds

    assert seconds("none", 1) < seconds("none", 100)
    assert seconds("none", 100) < seconds("llm-cf", 100)
