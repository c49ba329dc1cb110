"""Takings as of a day, against a count by hand."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core.contracts import FIRST_ID
from retrieval_stage.takings import Takings
from tests import in_memory

ITEMS = 5
taking = st.tuples(st.integers(FIRST_ID, FIRST_ID + ITEMS - 1), st.integers(0, 5), st.sampled_from(["train", "test"]))
users = st.lists(st.lists(taking, min_size=1, max_size=6), min_size=1, max_size=4)


@given(users, st.lists(st.integers(0, 7), min_size=1, max_size=6), st.booleans())
@settings(max_examples=60, deadline=None)
def test_earlier_days_count_and_of_them_training_rows_alone_unless_asked(
    taken: list[list[tuple[int, int, str]]], days: list[int], held_out: bool
) -> None:
    sequences = in_memory.sequences(dict(enumerate(taken, start=FIRST_ID)))
    takings, day_B = Takings(sequences, ITEMS, held_out=held_out), torch.tensor(days)
    every = [one for own in taken for one in own if held_out or one[2] == "train"]
    expected = [
        [sum(one[0] == item and one[1] < day for one in every) for item in range(2, FIRST_ID + ITEMS)] for day in days
    ]
    assert takings.as_of(day_B).tolist() == expected
    item_BK = torch.arange(FIRST_ID, FIRST_ID + ITEMS).repeat(len(days), 1)
    assert takings.before(item_BK, day_B).tolist() == expected
