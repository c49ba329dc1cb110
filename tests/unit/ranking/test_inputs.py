"""What a run is made from: asked for without any work, and read once when it is."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from core import steps, storage
from core.contracts import SEQUENCE
from core.data import tables
from core.errors import LlmcfError, Missing, UsageError
from core.settings import Workspace
from ict.neighbours import neighbours_step
from ranking.configs import RankerConfig
from ranking.export import servable
from ranking.inputs import load, needs, prepare, rests_on
from ranking.ranker import build, dense_features
from ranking.recipes import resolve
from ranking.runs import run_step
from ranking.trainer import train
from retrieval_stage import trainer as retrieval
from tests import in_memory


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


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Workspace]:
    """Grows by one whenever the training rows are read."""
    found: list[Workspace] = []
    original = tables.training_rows

    def counted(place: Workspace) -> pa.Table:
        found.append(place)
        return original(place)

    monkeypatch.setattr(tables, "training_rows", counted)
    return found


def config_of(ws: Workspace, **names: Any) -> RankerConfig:
    return resolve(ws, **{"model": "deepfm", "framework": "llm-cf", "recipe": "strict", "seed": 1, **names})


def test_to_ask_what_a_run_depends_on_starts_nothing(ws: Workspace, reads: list[Workspace]) -> None:
    assert run_step(ws, config_of(ws)).current() is None
    assert reads == []
    assert not ws.path("neighbours").exists()


def test_to_ask_names_what_is_missing(ws: Workspace) -> None:
    with pytest.raises(LlmcfError, match="llmcf recgen score"):
        run_step(ws, config_of(ws, framework="kd"))


def test_a_dated_score_is_the_last_dense_feature_and_zero_where_there_is_none(ws: Workspace) -> None:
    config = config_of(ws, framework="none", recipe="best", variant=SEQUENCE, epochs=1)
    with pytest.raises(Missing, match="llmcf retrieve date-scores"):
        run_step(ws, config)

    def write(folder: Path) -> dict[str, Any]:
        pq.write_table(pa.table({"row": [7, 3], "score": [1.5, -2.0]}), folder / "scores.parquet")
        return {}

    steps.run(steps.Step(folder=ws.path("scores", SEQUENCE), config={}), write)
    batches, shape = load(ws, config)
    assert batches.dense(torch.tensor([3, 4, 7]))[:, -1].tolist() == [-2.0, 0.0, 1.5]
    assert dense_features(config)[-1] == SEQUENCE
    ranker = build(config, shape)
    assert ranker.dense is not None
    assert len(ranker.dense.mean_J) == batches.dense(torch.tensor([3])).shape[1]
    with pytest.raises(UsageError, match="dated scores, which no request brings"):
        servable(config)


def test_a_run_reads_the_rows_once_and_is_then_current(ws: Workspace, reads: list[Workspace]) -> None:
    config = config_of(ws, epochs=1)
    train(ws, model="deepfm", framework="llm-cf", recipe="strict", seed=1, epochs=1)
    assert len(reads) == 1
    assert run_step(ws, config).current() is not None
    assert neighbours_step(ws, config.neighbours).current() is not None


def test_so_does_one_of_the_retrieval_stage(ws: Workspace, reads: list[Workspace]) -> None:
    retrieval.train(ws, model="sasrec", framework="llm-cf", recipe="strict", seed=1, epochs=1)
    assert len(reads) == 1


def test_what_is_prepared_for_several_processes_is_what_one_finds(ws: Workspace, reads: list[Workspace]) -> None:
    config = config_of(ws, variant="k2")
    prepare(ws, config)
    prepare(ws, config)
    assert len(reads) == 1, "the second time it is current"
    made = neighbours_step(ws, config.neighbours).folder / "neighbours.safetensors"
    before = made.read_bytes()
    shutil.rmtree(made.parent)
    load(ws, config)
    assert made.read_bytes() == before


def test_a_framework_without_examples_prepares_nothing(ws: Workspace, reads: list[Workspace]) -> None:
    prepare(ws, config_of(ws, framework="none"))
    assert reads == []


def test_knowledge_rests_on_its_texts_where_they_are_there(ws: Workspace) -> None:
    config = config_of(ws, framework="kar")
    assert rests_on(ws, config) == needs(ws, config)
    texts = ws.path("kar", "texts")
    texts.mkdir(parents=True)
    assert rests_on(ws, config) == [(texts, "kar generate"), *needs(ws, config)]
    assert rests_on(ws, config_of(ws, framework="none")) == needs(ws, config_of(ws, framework="none"))
    texts.rmdir()


def test_texts_of_other_rows_are_refused_by_both_stages(ws: Workspace) -> None:
    """Rows are numbered anew by every preparation: a text of row 7 may be another user's by now."""
    stamp = ws.cot("texts") / steps.STAMP
    before = storage.read_json(stamp)
    storage.write_json(stamp, before | {"inputs": {steps.name_of(ws.path("training")): "as it was"}})
    enhanced = retrieval.resolve(model="sasrec", framework="llm-cf", recipe="strict", seed=1)
    try:
        for stage in (lambda: run_step(ws, config_of(ws)), lambda: retrieval.run_step(ws, enhanced)):
            with pytest.raises(Missing, match=r"cot/texts was made before .*training changed; run `llmcf cot generate"):
                stage()
        run_step(ws, config_of(ws, framework="none"))  # which reads none
    finally:
        storage.write_json(stamp, before)
