"""`rank train` on a small real workspace: what it leaves, when it runs again, and how it fails."""

import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from core import metrics, steps, storage
from core.data import tables
from core.errors import LlmcfError, UsageError
from core.settings import Workspace
from ranking import loop
from ranking.export import export_graph
from ranking.ranker import build
from ranking.recipes import resolve
from ranking.trainer import estimate_train, train
from tests import in_memory

PLACE = Workspace("movielens-100k", "shuffled-ties")


@pytest.fixture(scope="module", autouse=True)
def torch_as_it_was() -> Iterator[None]:
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture(scope="module")
def ws(own: Workspace) -> Workspace:
    """A copy of the tiny workspace with a CoT set of random vectors."""
    rows, items = tables.training_rows(own), len(tables.items(own))
    in_memory.write_cot_set(own, in_memory.example_set(rows, items=items))
    return own


@pytest.mark.parametrize(("framework", "recipe"), [("none", "strict"), ("llm-cf", "strict"), ("llm-cf", "best")])
def test_a_run_leaves_weights_losses_scores_and_metrics(ws: Workspace, framework: str, recipe: str) -> None:
    result = train(ws, model="deepfm", framework=framework, recipe=recipe, seed=1, epochs=2)
    folder = ws.path("ranking", f"deepfm-{framework}-{recipe}-s1")
    assert sorted(path.name for path in folder.iterdir()) == [
        "losses.json", "model.safetensors", "scores.parquet", "step.json",
    ]  # fmt: skip
    scores = pq.read_table(folder / "scores.parquet").to_pandas()
    of_test = scores[scores["split"] == "test"]
    assert metrics.auc(of_test["label"].to_numpy(), of_test["score"].to_numpy()) == result.metrics["test"]["auc"]
    assert scores["score"].between(0, 1).all()
    assert set(result.metrics["valid"]) == {"auc", "logloss", "gauc", "ece"}
    losses = json.loads((folder / "losses.json").read_text())
    assert len(losses["epochs"]) == 2
    assert all(math.isfinite(loss) for loss in losses["steps"])
    again = train(ws, model="deepfm", framework=framework, recipe=recipe, seed=1, epochs=2)
    assert again.skipped
    assert again.metrics == result.metrics
    content = steps.content_of(folder)
    storage.write_json(folder / "losses.json", [])  # a changed output: the step is not whole any more
    anew = train(ws, model="deepfm", framework=framework, recipe=recipe, seed=1, epochs=2)
    assert not anew.skipped
    assert steps.content_of(folder) == content, "every byte, as downstream steps are told by them"


def test_rel_impr_is_against_the_same_run_without_a_framework(ws: Workspace) -> None:
    lonely = train(ws, model="deepfm", framework="llm-cf", recipe="strict", seed=2, epochs=1)
    assert lonely.metrics["test"]["rel_impr"] is None
    assert "--framework none --recipe strict --seed 2 --epochs 1 --dataset" in lonely.details["note"], "as it would be"
    train(ws, model="deepfm", framework="none", recipe="strict", seed=2, epochs=2)
    unlike = train(ws, model="deepfm", framework="llm-cf", recipe="strict", seed=2, epochs=1)
    assert unlike.metrics["test"]["rel_impr"] is None, "the plain run had another number of epochs"
    base = train(ws, model="deepfm", framework="none", recipe="strict", seed=2, epochs=1)
    assert "rel_impr" not in base.metrics["test"]
    compared = train(ws, model="deepfm", framework="llm-cf", recipe="strict", seed=2, epochs=1)
    assert compared.skipped
    expected = metrics.rel_impr(compared.metrics["test"]["auc"], base.metrics["test"]["auc"])
    assert compared.metrics["test"]["rel_impr"] == pytest.approx(expected)
    stamp = ws.path("training", steps.STAMP)
    before = stamp.read_text()
    base_stamp = ws.path("ranking", "deepfm-none-strict-s2", steps.STAMP)
    base_stamp.write_text(base_stamp.read_text().replace('"key": "', '"key": "of other data '))
    stale = train(ws, model="deepfm", framework="llm-cf", recipe="strict", seed=2, epochs=1)
    assert stale.metrics["test"]["rel_impr"] is None, "the plain run is of older data"
    assert stamp.read_text() == before


def test_the_same_seed_repeats_and_another_does_not(ws: Workspace) -> None:
    def scores(seed: int) -> np.ndarray:
        train(ws, model="deepfm", framework="llm-cf", recipe="strict", seed=seed, epochs=1)
        folder = ws.path("ranking", f"deepfm-llm-cf-strict-s{seed}")
        values = pq.read_table(folder / "scores.parquet")["score"].to_numpy()
        shutil.rmtree(folder)
        return values

    first = scores(3)
    assert np.array_equal(first, scores(3))
    assert not np.array_equal(first, scores(4))


def test_the_best_epoch_is_kept_and_training_stops(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    aucs = iter([0.6, 0.8, 0.7, 0.65, 0.9, 0.5, 0.4])
    kept: list[np.ndarray] = []
    original = loop.predict

    def watched(*arguments: Any) -> np.ndarray:
        kept.append(original(*arguments))
        return kept[-1]

    monkeypatch.setattr(loop, "predict", watched)
    monkeypatch.setattr(loop.metrics, "auc", lambda *_: next(aucs))
    result = train(ws, model="deepfm", framework="none", recipe="strict", seed=5, epochs=5)
    assert [line["valid_auc"] for line in result.details["epochs"]] == [0.6, 0.8, 0.7, 0.65]
    assert result.details["best_epoch"] == 2
    np.testing.assert_array_equal(kept[4], kept[1])  # validation scores measured at the end are epoch 2's


def test_a_loss_that_is_not_a_number_stops_the_run_and_leaves_nothing(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "binary_cross_entropy_with_logits", lambda *_: torch.tensor(float("nan")))
    with pytest.raises(LlmcfError, match="training loss is nan"):
        train(ws, model="deepfm", framework="none", recipe="strict", seed=6, epochs=1)
    assert not ws.path("ranking", "deepfm-none-strict-s6").exists()


def test_what_a_framework_adds_has_a_weight_decay_of_its_own() -> None:
    config = resolve(PLACE, model="xdeepfm", framework="llm-cf", recipe="strict", seed=1)
    model = build(config, in_memory.batches(model="xdeepfm", framework="llm-cf")[1])
    assert model.llm_cf is not None
    own, added = loop.optimizer_of(model, config).param_groups
    assert (own["weight_decay"], added["weight_decay"]) == (3e-4, 1e-4)
    assert set(map(id, added["params"])) == set(map(id, model.llm_cf.parameters()))
    assert set(map(id, own["params"])) == set(map(id, model.parameters())) - set(map(id, added["params"]))
    plain = resolve(PLACE, model="xdeepfm", framework="none", recipe="strict", seed=1)
    assert plain.weight_decay == config.weight_decay


def test_missing_inputs_name_their_verbs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path))
    empty = Workspace("movielens-100k", "shuffled-ties")
    for framework in ("none", "llm-cf"):
        with pytest.raises(LlmcfError, match=r"run `llmcf (data prepare|features join)"):
            train(empty, model="deepfm", framework=framework)
    with pytest.raises(LlmcfError, match="run `llmcf data prepare"):
        estimate_train(empty, resolve(empty, model="deepfm", framework="none", recipe="strict", seed=1))
    with pytest.raises(UsageError, match="unknown model 'dcnv3'"):
        train(empty, model="dcnv3", framework="none")


def test_the_estimate_grows_with_rows_epochs_and_framework(ws: Workspace) -> None:
    def seconds(framework: str, epochs: int) -> float:
        config = resolve(ws, model="deepfm", framework=framework, recipe="strict", seed=1, epochs=epochs)
        return estimate_train(ws, config).seconds

    assert seconds("none", 1) < seconds("none", 4) < seconds("llm-cf", 4)


def export(ws: Workspace, folder: Path, *, framework: str, seed: int) -> None:
    named = resolve(ws, model="deepfm", framework=framework, recipe="strict", seed=seed)
    export_graph(ws, named, folder, folder / "kept.safetensors")


def test_a_run_older_than_its_inputs_is_not_exported(ws: Workspace, tmp_path: Path) -> None:
    train(ws, model="deepfm", framework="none", recipe="strict", seed=7, epochs=1)
    for place, why in {
        "training": "older than its inputs or its code; run `llmcf rank train --model deepfm",
        "data": "training was made before .*data changed; run `llmcf features join",
    }.items():
        stamp = ws.path(place, steps.STAMP)
        before = stamp.read_text()
        stamp.write_text(before.replace('"content": "', '"content": "other'))
        with pytest.raises(LlmcfError, match=why):
            export(ws, tmp_path, framework="none", seed=7)
        stamp.write_text(before)
    with pytest.raises(LlmcfError, match="--seed 8"):
        export(ws, tmp_path, framework="none", seed=8)
    assert not list(tmp_path.iterdir())


def test_a_run_of_texts_of_another_encoder_is_refused_by_name(ws: Workspace, tmp_path: Path) -> None:
    train(ws, model="deepfm", framework="llm-cf", recipe="strict", seed=9, epochs=1)
    stamp = ws.path("cot", "vectors", steps.STAMP)
    before = stamp.read_text()
    content = storage.read_json(stamp)
    storage.write_json(stamp, content | {"config": content["config"] | {"encoder": "bge", "hash": "12"}})
    try:
        with pytest.raises(UsageError, match="is of the text encoder @, and not of bge@12"):
            export(ws, tmp_path, framework="llm-cf", seed=9)
    finally:
        stamp.write_text(before)
    assert not list(tmp_path.iterdir())
