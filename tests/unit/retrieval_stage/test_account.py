"""What an account says of a model, by hand."""

import json

import numpy as np
import pyarrow as pa
import pytest
import torch

from core import metrics
from core.contracts import FIRST_ID
from core.data import tables
from core.segments import SEGMENTS
from core.settings import Workspace
from retrieval_stage import controls, evaluation
from retrieval_stage.account import Evaluator, by_segment, intervals
from retrieval_stage.sequences import Sequences
from tests import in_memory

ITEMS = 40
ROWS = in_memory.training_rows(users=25, items=ITEMS, length=8)
SEQUENCES = Sequences.of(ROWS)
OFFERED = torch.ones(ITEMS, dtype=torch.bool)
OFFERED[[5, 6]] = False
EVALUATOR = Evaluator.of(ROWS, SEQUENCES, OFFERED)


def drawn(index_B: torch.Tensor) -> torch.Tensor:
    """Scores at random that do not depend on which rows come together."""
    table = torch.rand(len(SEQUENCES), ITEMS, generator=torch.Generator().manual_seed(3))
    return table[index_B].masked_fill_(~OFFERED, -torch.inf)


FOUND = EVALUATOR.account(drawn)


def test_ranks_are_those_of_each_row_in_the_order_of_the_sequences() -> None:
    for split in ("valid", "test"):
        index = SEQUENCES.of_split(split)
        masked, unmasked = evaluation.catalogue_ranks(drawn, SEQUENCES, index)
        ranks = FOUND.ranks.filter(pa.array(FOUND.ranks["split"].to_numpy() == split))
        assert ranks["row"].to_pylist() == SEQUENCES.row_N[index].tolist()
        assert ranks["rank_masked"].to_pylist() == masked.tolist()
        assert ranks["rank_unmasked"].to_pylist() == unmasked.tolist()
        assert FOUND.metrics[split] == evaluation.summary(masked, unmasked)


def test_ranks_name_rows_by_their_numbers_where_numbers_have_gaps() -> None:
    """A user who has taken all there is has no negative, and its number is nobody's."""
    numbers = 7 + 2 * np.arange(len(ROWS))
    rows = ROWS.set_column(ROWS.column_names.index("row"), "row", pa.array(numbers))
    found = Evaluator.of(rows, Sequences.of(rows), OFFERED).account(drawn)
    places = FOUND.ranks["row"].to_numpy()
    assert found.ranks["row"].to_pylist() == numbers[places].tolist()
    assert by_segment(found.ranks, rows) == by_segment(FOUND.ranks, ROWS)


def test_coverage_and_popularity_of_what_is_recommended() -> None:
    index = SEQUENCES.of_split("test")
    score_NV = drawn(index)
    row, item = SEQUENCES.seen(index)
    score_NV[row, item - FIRST_ID] = -torch.inf
    top = score_NV.argsort(dim=1, descending=True)[:, :10] + FIRST_ID
    assert FOUND.coverage == len(top.unique()) / (ITEMS - 2)
    train = SEQUENCES.of_split("train")
    counts = [
        int(((SEQUENCES.item_N[train] == one) & (SEQUENCES.day_N[train] < day)).sum())
        for own, day in zip(top.tolist(), SEQUENCES.day_N[index].tolist(), strict=True)
        for one in own
    ]
    assert max(counts) > 0
    assert FOUND.mean_popularity == pytest.approx(np.mean(counts))


def test_popular_items_are_fewer_and_more_popular_than_items_at_random() -> None:
    popular = EVALUATOR.account(controls.popularity(SEQUENCES, EVALUATOR.takings, OFFERED))
    assert popular.coverage < FOUND.coverage == 1
    assert popular.mean_popularity > FOUND.mean_popularity


def test_a_segment_is_measured_on_its_own_test_rows(own: Workspace) -> None:
    rows = tables.training_rows(own)
    sequences = Sequences.of(rows)
    index = torch.cat([sequences.of_split("valid"), sequences.of_split("test")])
    masked, unmasked = np.random.default_rng(1).integers(1, 20, (2, len(index)))
    split = np.array(["valid", "test"])[(sequences.split_N[index] == 2).long()]
    ranks = {"row": sequences.row_N[index].numpy(), "rank_masked": masked, "rank_unmasked": unmasked}
    ranks["user"] = sequences.user_N[index].numpy()
    found = by_segment(pa.table({"split": split, **ranks}), rows)
    masked, unmasked = masked[split == "test"], unmasked[split == "test"]
    test = rows.filter(pa.array((rows["split"].to_numpy() == "test") & (rows["label"].to_numpy() == 1)))
    assert {"history of 10 and more", "older items", "popular items", "less popular items"} <= set(found)
    for name, segment in SEGMENTS.items():
        at = segment(test)
        assert (name in found) == at.any()
        if at.any():
            both = {"masked": metrics.full_ranking(masked[at]), "unmasked": metrics.full_ranking(unmasked[at])}
            assert found[name] == {"rows": at.sum(), **both}


def test_cold_rows_have_intervals_and_are_told_even_where_there_are_none() -> None:
    train = ROWS["split"].to_numpy() == "train"
    user, item = ROWS["user"].to_numpy(), ROWS["item"].to_numpy()
    cold = "items without training rows"
    taken = (ROWS["label"].to_numpy() == 1) & (item != item[SEQUENCES.row_N[SEQUENCES.of_split("test")[0]]])
    fewer = ROWS.set_column(ROWS.schema.get_field_index("label"), "label", pa.array(np.where(train, taken, 1)))
    found = by_segment(FOUND.ranks, fewer)
    assert 0 < found[cold]["rows"] < len(np.unique(user))
    low, high = found[cold]["intervals"]["hit@10"]
    assert low <= found[cold]["masked"]["hit@10"] <= high
    assert found["users without training rows"] == {"rows": 0}


def test_an_interval_holds_its_metric_and_resamples_users_not_rows() -> None:
    for name, (low, high) in FOUND.intervals.items():
        assert 0 <= low <= FOUND.metrics["test"]["masked"][name] <= high <= 1
    alone = {"rank_masked": [1, 30] * 50, "user": list(range(100))}
    together = {"rank_masked": [1, 30] * 50, "user": [0, 1] * 50}
    widths = [high - low for low, high in (intervals(pa.table(one))["hit@10"] for one in (alone, together))]
    assert widths[0] < 0.3
    assert widths[1] == 1, "two users: both may be drawn twice"


def test_figures_are_json_without_the_ranks() -> None:
    told = json.loads(json.dumps(FOUND.figures(), allow_nan=False))
    assert set(told) == {"metrics", "intervals", "segments", "coverage", "mean_popularity"}
