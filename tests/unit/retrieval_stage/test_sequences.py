"""Windows cover every training row and nothing later; what a user had seen is everything before, and only that."""

from dataclasses import replace

import pytest
import torch

from core.contracts import HISTORY, PAD, UNKNOWN
from core.data import tables
from core.settings import Workspace
from retrieval_stage.sequences import Sequences, hide
from tests import in_memory

LONG = 2 * HISTORY + 7  # interactions a user: more than two windows


@pytest.fixture(scope="module")
def sequences() -> Sequences:
    return Sequences.of(in_memory.training_rows(users=9, items=80, length=LONG))


def test_only_positives_are_kept_with_their_rows(sequences: Sequences) -> None:
    assert len(sequences) == 9 * LONG
    assert torch.equal(sequences.row_N, torch.arange(0, 2 * 9 * LONG, 2))
    assert [len(sequences.of_split(split)) for split in ("train", "valid", "test")] == [9 * (LONG - 2), 9, 9]


@pytest.mark.parametrize("seed", range(3))
def test_windows_hold_every_training_row_once_and_few_twice(sequences: Sequences, seed: int) -> None:
    ends = sequences.windows(torch.Generator().manual_seed(seed))
    there = sequences.targets(ends) != PAD
    predicted = sequences.rows_of_window(ends)[there]
    assert set(predicted.tolist()) == set(sequences.of_split("train").tolist())
    assert len(predicted) < len(sequences.of_split("train")) + 9 * HISTORY  # only a user's last window overlaps


def test_windows_stop_where_a_global_time_split_cuts_each_user(sequences: Sequences) -> None:
    cut_U = torch.tensor([0, 0, 0, 1, 5, 19, 20, 21, 40, LONG, LONG])  # of users 2 to 10: none, some or all is training
    split = (sequences.position_N >= cut_U[sequences.user_N]).long()
    by_time = replace(sequences, split_N=split)
    ends = by_time.windows(torch.Generator().manual_seed(0))
    predicted = by_time.rows_of_window(ends)[by_time.targets(ends) != PAD]
    assert set(predicted.tolist()) == set(by_time.of_split("train").tolist())


def test_before_a_day_are_the_first_positions_of_every_user(sequences: Sequences) -> None:
    day = int(sequences.day_N.median())
    kept = sequences.before(day)
    assert 0 < len(kept) < len(sequences)
    assert torch.equal(kept.row_N, sequences.row_N[sequences.day_N < day])
    assert int(kept.day_N.max()) < day
    for user in kept.user_N.unique():
        of_user = kept.position_N[kept.user_N == user]
        assert of_user.tolist() == list(range(len(of_user)))


def test_windows_start_elsewhere_each_time(sequences: Sequences) -> None:
    generator = torch.Generator().manual_seed(0)
    assert sequences.windows(generator).tolist() != sequences.windows(generator).tolist()


def test_a_position_predicts_the_item_of_its_row_from_the_items_before(sequences: Sequences) -> None:
    ends = sequences.windows(torch.Generator().manual_seed(0))
    target, rows = sequences.targets(ends), sequences.rows_of_window(ends)
    there = target != PAD
    assert torch.equal(sequences.item_N[rows[there]], target[there])
    assert torch.equal(sequences.user_N[rows[there]], sequences.user_N[ends].repeat_interleave(there.sum(dim=1)))
    last_seen = sequences.history_NL[ends][there]  # the newest item of each prefix
    assert torch.equal(last_seen, sequences.history_NL[rows[there], -1])


def test_seen_is_everything_earlier_and_nothing_else(sequences: Sequences) -> None:
    index = torch.cat([sequences.of_split("test"), sequences.of_split("valid"), torch.tensor([0])])
    row, item = sequences.seen(index)
    for number, at in enumerate(index.tolist()):
        position = int(sequences.position_N[at])
        assert item[row == number].tolist() == sequences.item_N[at - position : at].tolist()
    assert int((row == 0).sum()) == LONG - 1 > HISTORY, "not only the history that the model sees"


def test_first_row_of_a_user_is_a_window_with_one_target(sequences: Sequences) -> None:
    assert (sequences.targets(torch.tensor([0])) != PAD).sum() == 1
    row, _ = sequences.seen(torch.tensor([0]))
    assert len(row) == 0


def test_hidden_ids_are_never_padding() -> None:
    ids = torch.tensor([[PAD, PAD, 5], [PAD, 6, 7]])
    assert hide(ids, 1.0, UNKNOWN, torch.Generator()).tolist() == [[PAD, PAD, UNKNOWN], [PAD, UNKNOWN, UNKNOWN]]
    assert torch.equal(hide(ids, 0.0, UNKNOWN, torch.Generator()), ids)


def test_prepared_data_reads_the_same_way(tiny: Workspace) -> None:
    sequences = Sequences.of(tables.training_rows(tiny))
    ends = sequences.windows(torch.Generator().manual_seed(0))
    predicted = sequences.rows_of_window(ends)[sequences.targets(ends) != PAD]
    assert set(predicted.tolist()) == set(sequences.of_split("train").tolist())
