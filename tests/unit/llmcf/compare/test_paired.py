"""The paired test on common rows: equal figures, the interval's sign, other rows said, rows that are gone refused."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core import steps, storage
from core.errors import Missing, UsageError
from core.settings import Workspace
from llmcf.compare import paired
from llmcf.compare.sides import Run
from tests.unit.llmcf.compare.conftest import Made

DRAWS = 60


def run_of(folder: Path, ws: Workspace) -> Run:
    return Run(stage=folder.parent.name, folder=folder, ws=ws, stamp=storage.read_json(folder / steps.STAMP))


def copied(folder: Path, to: Path) -> Path:
    return Path(shutil.copytree(folder, to / folder.parent.name / folder.name))


def test_rankers_on_the_same_rows(made: Made) -> None:
    first, second = (run_of(folder, made.ws) for folder in made.rankers)
    found = paired.compare(first, second, draws=DRAWS)
    assert found.same_rows
    for name, one in found.whole.items():
        assert one.first == pytest.approx(first.metrics["test"][name], abs=1e-6), name
        assert one.second == pytest.approx(second.metrics["test"][name], abs=1e-6), name
    auc, ece = found.whole["auc"], found.whole["ece"]
    assert auc.differs
    assert auc.low is not None and auc.high is not None
    assert 0 < auc.low < auc.gap < auc.high
    assert found.whole["logloss"].high is not None and found.whole["logloss"].high < 0
    assert (ece.low, ece.differs) == (None, False)
    parts = ("history of 0-4", "history of 5-9", "history of 10 and more")
    assert sum(found.segments[name].rows for name in parts if name in found.segments) == auc.rows


def test_the_other_way_round_the_gap_has_the_other_sign(made: Made) -> None:
    first, second = (run_of(folder, made.ws) for folder in made.rankers)
    there, back = paired.compare(first, second, draws=DRAWS), paired.compare(second, first, draws=DRAWS)
    assert back.whole["gauc"].gap == -there.whole["gauc"].gap
    assert back.whole["gauc"].high == pytest.approx(-(there.whole["gauc"].low or 0))


def test_a_run_beside_itself_shows_no_difference(made: Made, tmp_path: Path) -> None:
    first = run_of(made.rankers[0], made.ws)
    found = paired.compare(first, run_of(copied(first.folder, tmp_path), made.ws), draws=DRAWS)
    assert not any(one.differs for one in [*found.whole.values(), *found.segments.values()])


def test_retrieval_models_by_their_ranks(made: Made) -> None:
    first, second = (run_of(folder, made.ws) for folder in made.towers)
    found = paired.compare(first, second, draws=DRAWS)
    for name, one in found.whole.items():
        metric, which = name.split()
        assert one.first == pytest.approx(first.metrics["test"][which][metric]), name
    assert found.whole["hit@10 masked"].gap < 0
    assert "items without training rows" not in found.segments or found.segments["items without training rows"].rows


def with_scores(folder: Path, to: Path, keep: np.ndarray) -> Path:
    """A copy of a run that has scored only some test rows, as one of an earlier day has."""
    copy = copied(folder, to)
    scores = pq.read_table(copy / paired.SCORES)
    test = np.flatnonzero(scores["split"].to_numpy() == "test")
    pq.write_table(scores.take(pa.array(test[keep[: len(test)]])), copy / paired.SCORES)
    return copy


def test_other_rows_are_compared_on_the_common_ones(made: Made, tmp_path: Path) -> None:
    first, second = made.rankers
    some = run_of(with_scores(first, tmp_path, np.arange(40)), made.ws)
    found = paired.compare(some, run_of(second, made.ws), draws=DRAWS)
    assert found.counts[0] == found.counts[2] == 40 < found.counts[1]
    assert not found.same_rows
    assert found.whole["auc"].rows == 40


def test_no_common_row_is_refused(made: Made, tmp_path: Path) -> None:
    one = run_of(with_scores(made.rankers[0], tmp_path, np.arange(0, 20)), made.ws)
    other = run_of(with_scores(made.rankers[1], tmp_path, np.arange(20, 40)), made.ws)
    with pytest.raises(UsageError, match="have no test row in common: 20 rows of shuffled-ties latest, 20 of"):
        paired.compare(one, other, draws=DRAWS)


def test_scores_of_rows_that_are_gone_are_refused(made: Made, tmp_path: Path) -> None:
    folder = copied(made.rankers[0], tmp_path)
    first, second = run_of(folder, made.ws), run_of(made.rankers[1], made.ws)
    stamp = dict(first.stamp) | {"inputs": {steps.name_of(made.ws.path("training")): "another"}}
    older = Run(stage="ranking", folder=folder, ws=made.ws, stamp=stamp)
    with pytest.raises(Missing, match=r"scored other rows than .*training holds now; run `llmcf"):
        paired.compare(older, second, draws=DRAWS)
    scores = pq.read_table(folder / paired.SCORES)  # a stamp of before says nothing: the labels do
    turned = pa.array(1 - scores["label"].to_numpy(), pa.int8())
    pq.write_table(scores.set_column(scores.column_names.index("label"), "label", turned), folder / paired.SCORES)
    silent = Run(stage="ranking", folder=folder, ws=made.ws, stamp={**first.stamp, "inputs": {}})
    with pytest.raises(Missing, match="scored other rows"):
        paired.compare(silent, second, draws=DRAWS)
