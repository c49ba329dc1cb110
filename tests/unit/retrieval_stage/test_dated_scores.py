"""A row's score comes from a model of strictly earlier days, is the inner product that it claims to be, and a model
that saw the days it scores is found out."""

from collections.abc import Iterator

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from core.contracts import FIRST_ID
from core.data import tables
from core.errors import LlmcfError, UsageError
from core.settings import Workspace
from llmcf import audit
from retrieval_stage import dated_scores
from retrieval_stage.dated_scores import configured, date_scores, first_days, known_before
from retrieval_stage.inputs import load
from retrieval_stage.user_tower import UserTower, build


@pytest.fixture(scope="module", autouse=True)
def torch_as_it_was() -> Iterator[None]:
    yield
    torch.use_deterministic_algorithms(False)


def test_blocks_are_whole_days_and_of_like_size() -> None:
    assert first_days(torch.tensor([1, 2, 3, 4, 5, 6]), 3) == [3, 5]
    assert first_days(torch.tensor([7, 7, 7, 7, 8, 8]), 4) == [8], "no block is empty, and the first has no model"
    assert first_days(torch.tensor([7, 7]), 4) == []


def test_what_was_known_is_rows_and_items_of_earlier_days(own: Workspace) -> None:
    data = load(own, configured(1))
    day = int(data.sequences.day_N.median())
    known = known_before(data, day)
    before_N = data.sequences.day_N < day
    assert int(known.sequences.day_N.max()) < day
    assert len(known.sequences) == int(before_N.sum())
    train_N = before_N & (data.sequences.split_N == 0)
    assert set((torch.nonzero(known.offered_V).flatten() + FIRST_ID).tolist()) == set(
        data.sequences.item_N[train_N].tolist()
    )


def test_a_score_is_how_much_likelier_than_chance_the_item_was_by_the_softmax(own: Workspace) -> None:
    data = load(own, configured(1))
    known = known_before(data, int(data.sequences.day_N.sort().values[30]))
    tower: UserTower = build(configured(1), known).eval()
    index_B = torch.tensor([0, 5, 9])
    user_BY = dated_scores.user_vectors(tower, data.sequences, index_B)
    score_BV = user_BY @ dated_scores.item_vectors(tower).T
    with torch.no_grad():
        vector_BD = tower(data.sequences.user_N[index_B], data.sequences.history_NL[index_B])
        logit_BO = vector_BD @ tower.item_vectors()[tower.offered_V].T
    known_O = torch.nonzero(tower.offered_V).flatten() + FIRST_ID
    expected_BO = torch.log_softmax(logit_BO, dim=1) + np.log(len(known_O))
    torch.testing.assert_close(score_BV[:, known_O], expected_BO, rtol=1e-4, atol=1e-5)
    assert len(known_O) < len(tower.offered_V)
    unknown = torch.ones(score_BV.shape[1], dtype=torch.bool)
    unknown[known_O] = False
    assert unknown[:FIRST_ID].all()
    assert not score_BV[:, unknown].any()


def test_every_row_is_scored_by_the_newest_model_of_earlier_days_and_the_audit_agrees(own: Workspace) -> None:
    made = date_scores(own, seed=1, blocks=3, epochs=1)
    rows = tables.training_rows(own)
    scores = pq.read_table(made.artifacts["scores"])
    first = [block["first_day"] for block in made.details["blocks"]]
    assert [block["last_trained_day"] < block["first_day"] for block in made.details["blocks"]] == [True, True]
    assert first == first_days(load(own, configured(1)).sequences.day_N, 3)
    day_R = rows["day"].to_numpy()
    newest_R = np.array([f"before-{day}" for day in (0, *first)])[np.searchsorted(first, day_R, side="right")]
    asked = newest_R != "before-0"
    in_order = scores.sort_by("row")
    assert in_order["row"].to_pylist() == rows["row"].to_numpy()[asked].tolist()
    assert in_order["model"].to_pylist() == newest_R[asked].tolist()
    assert made.details["unscored"] == int((~asked).sum())
    assert leaks(own) == [0, 0]
    assert date_scores(own, seed=1, blocks=3, epochs=1).skipped


def test_a_model_that_saw_the_days_it_scores_is_refused_and_caught(
    own: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted: every model learns from the first day of its own block too."""
    monkeypatch.setattr(dated_scores, "known_before", lambda data, day: known_before(data, day + 1))
    with pytest.raises(LlmcfError, match=r"from day (\d+) on saw day \1: its scores would leak"):
        date_scores(own, seed=2, blocks=3, epochs=1)
    monkeypatch.setattr(dated_scores, "check", lambda blocks, day_R: None)
    date_scores(own, seed=2, blocks=3, epochs=1)
    in_sample, of_the_day = leaks(own)
    assert 0 < in_sample <= of_the_day


def test_days_without_anything_before_them_are_said(own: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dated_scores, "scored", lambda *arguments: None)
    with pytest.raises(LlmcfError, match="has training and validation rows before it"):
        date_scores(own, seed=3, blocks=2)
    with pytest.raises(UsageError, match="--blocks 1 is not at least 2"):
        date_scores(own, seed=3, blocks=1)


def test_data_of_one_day_are_said(own: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dated_scores, "first_days", lambda *_: [])
    with pytest.raises(LlmcfError, match="has training and validation rows before it"):
        date_scores(own, seed=4, blocks=2)


def leaks(ws: Workspace) -> list[int]:
    """How many scored rows break each of the two rules of scores."""
    checks = audit.leaks(ws).details["checks"]
    return [check["violations"] for check in checks if check["claim"].startswith("scores of sequence")]
