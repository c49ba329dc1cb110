"""What strangers are shown online is what recipe best of retrieval measures for them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core import storage
from core.contracts import FIRST_ID
from core.data.features import ITEM_POPULARITY
from core.data.popularity import item_states
from llmcf.online.reader import most_taken_lately
from retrieval_stage.controls import LATELY, popular_lately
from retrieval_stage.takings import Takings
from tests import in_memory

ITEMS, STRANGER = 9, 1_000
Taken = Sequence[tuple[int, int]]  # item, day


def online(taken: Taken, offered: np.ndarray, folder: Path) -> list[int]:
    """The whole order, out of the states of the day after the last; a release leaves out what its index has not."""
    item, day = (np.array(values, dtype=np.int64) for values in zip(*taken, strict=True))
    path = folder / "item_popularity.parquet"
    storage.write_table(path, item_states(item, day, offered), ITEM_POPULARITY)
    return [item for item in most_taken_lately(path) if item in offered]


def offline(taken: Taken, offered: np.ndarray) -> list[int]:
    """The same of a row of that day without a history, some before it held out; equals by id."""
    world = {
        user: [(item, day, ("train", "valid", "test")[user % 3])] for user, (item, day) in enumerate(taken, start=2)
    }
    today = max(day for _, day in taken) + 1
    sequences = in_memory.sequences({**world, STRANGER: [(FIRST_ID, today, "test")]})
    offered_V = torch.zeros(ITEMS, dtype=torch.bool)
    offered_V[offered - FIRST_ID] = True
    score = popular_lately(sequences, Takings(sequences, ITEMS, held_out=True), offered_V)(
        torch.tensor([len(sequences) - 1])
    )[0]
    order = (score.argsort(descending=True, stable=True) + FIRST_ID).tolist()
    return order[: len(offered)]


ITEM = st.integers(FIRST_ID, FIRST_ID + ITEMS - 1)


@given(
    st.lists(st.tuples(ITEM, st.integers(0, 3 * LATELY)), min_size=1, max_size=60),
    st.sets(ITEM, min_size=1).map(lambda found: np.array(sorted(found))),
)
@settings(max_examples=60, deadline=None)
def test_a_stranger_is_shown_what_was_measured(
    tmp_path_factory: pytest.TempPathFactory, taken: Taken, offered: np.ndarray
) -> None:
    assert online(taken, offered, tmp_path_factory.mktemp("states")) == offline(taken, offered)


def test_thirty_days_then_all_days_then_the_id(tmp_path: Path) -> None:
    often_before = [(5, 0)] * 9
    lately = [(2, 70), (3, 71), (3, 72), (4, 99), (7, 99)]  # day 70 is the first of the thirty before day 100
    taken = [*often_before, (4, 3), (6, 69), *lately]
    every = np.arange(FIRST_ID, FIRST_ID + ITEMS)
    assert online(taken, every, tmp_path) == offline(taken, every) == [3, 4, 2, 7, 5, 6, 8, 9, 10]
