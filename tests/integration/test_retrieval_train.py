"""`retrieve train` and its export, end to end on the tiny workspace."""

from pathlib import Path

import numpy as np
import onnxruntime
import pyarrow.parquet as pq
import pytest

from core import storage
from core.data import tables
from core.errors import LlmcfError
from core.result import Result
from core.settings import Workspace
from ict.examples import ExampleSet
from retrieval_stage import export, trainer
from retrieval_stage.inputs import load
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
    weights = storage.sha256(Path(first.artifacts["model"]))
    storage.write_json(Path(first.artifacts["losses"]), [])  # a changed output: the step is not whole any more
    again = train(ws, "none")
    assert not again.skipped
    assert storage.sha256(Path(again.artifacts["model"])) == weights
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
    entries = storage.read_json(Path(result.artifacts["losses"]))
    assert [entry["epoch"] for entry in entries] == [1, 2]
    assert entries[1]["loss"] < entries[0]["loss"]


@pytest.mark.parametrize(
    ("framework", "recipe", "inputs"),
    [
        ("none", "strict", ["user", "history"]),
        ("llm-cf", "best", ["user", "history", "examples", "similarity"]),
    ],
)
def test_the_exported_graph_gives_the_trained_vectors(
    ws: Workspace, tmp_path: Path, framework: str, recipe: str, inputs: list[str]
) -> None:
    result = train(ws, framework, epochs=1, recipe=recipe)
    path = tmp_path / "model.onnx"
    made = export.export_onnx(ws, model="sasrec", framework=framework, recipe=recipe, seed=SEED, path=path)
    assert made.manifest["inputs"] == inputs
    assert made.manifest["metrics"] == result.metrics
    assert made.manifest["max_difference"] < 1e-4
    assert len(made.item_ids) == len(made.item_vectors) == len(tables.items(ws))
    session = onnxruntime.InferenceSession(path)
    assert [graph_input.name for graph_input in session.get_inputs()] == inputs
    rows = np.array([2, 10**6])  # a user beyond the vocabulary is served as well
    feed = {"user": rows, "history": np.zeros((2, 20), np.int64)}
    feed |= {"examples": np.zeros((2, 4), np.int64), "similarity": np.zeros((2, 4), np.float32)}
    (vectors,) = session.run(["vector"], {name: feed[name] for name in inputs})
    assert np.asarray(vectors).shape == (2, 64)
    assert np.isfinite(np.asarray(vectors)).all()


def test_strict_asks_for_no_similarity(ws: Workspace) -> None:
    config = trainer.resolve(model="sasrec", framework="llm-cf", recipe="strict", seed=SEED)
    data = load(ws, config)
    assert list(export.request_of(config, data.sequences, data.shown)) == ["user", "history", "examples"]


def test_a_model_older_than_its_inputs_is_not_exported(ws: Workspace, tmp_path: Path) -> None:
    train(ws, "llm-cf", epochs=1)
    texts = ws.path("cot", "texts")
    stamp = storage.read_json(texts / "step.json")
    storage.write_json(texts / "step.json", {**stamp, "content": "another"})
    try:
        with pytest.raises(LlmcfError, match=r"older than its inputs.*llmcf retrieve train .* --framework llm-cf"):
            export.export_onnx(
                ws, model="sasrec", framework="llm-cf", recipe="strict", seed=SEED, path=tmp_path / "model.onnx"
            )
    finally:
        storage.write_json(texts / "step.json", stamp)
    assert not (tmp_path / "model.onnx").exists()


def test_missing_inputs_name_the_verb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ws: Workspace) -> None:
    assert ExampleSet.load(ws).count > 0
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path))
    with pytest.raises(LlmcfError, match="llmcf features join"):
        train(ws, "none")
    with pytest.raises(LlmcfError, match="llmcf retrieve train"):
        export.export_onnx(ws, model="sasrec", framework="none", recipe="strict", seed=SEED, path=tmp_path / "m.onnx")


def test_the_estimate_grows_with_epochs_and_framework(ws: Workspace) -> None:
    def seconds(framework: str, epochs: int) -> float:
        estimate = trainer.estimate_train(ws, model="sasrec", framework=framework, recipe="strict", epochs=epochs)
        return estimate.seconds

    assert seconds("none", 1) < seconds("none", 100)
    assert seconds("none", 100) < seconds("llm-cf", 100)
