"""States of users, block after block, are those of all users at once."""

import numpy as np
import pyarrow as pa
import pytest

from core.data.histories import Attributes, state_blocks, user_states


def invented(users: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, Attributes]:
    rng = np.random.default_rng(5)
    user = np.repeat(np.arange(2, 2 + users), rng.integers(1, 60, users))
    item, day = rng.integers(2, 40, len(user)), np.sort(rng.integers(0, 900, len(user)))
    attributes = Attributes(rng.integers(0, 9, 40), rng.integers(0, 9, (40, 6)))
    return user, item, day, rng.random(len(user), dtype=np.float32), attributes


@pytest.mark.parametrize("block", [1, 50, 333, 10**6])
def test_blocks_hold_whole_users_and_the_states_of_all(block: int) -> None:
    data = invented(users=30)
    blocks = list(state_blocks(*data, block=block))
    assert pa.concat_tables(blocks).equals(user_states(*data))
    owners = [set(table["user"].to_pylist()) for table in blocks]
    assert sum(map(len, owners)) == len(set.union(*owners)) == 30
    assert len(blocks) == 30 if block == 1 else len(blocks) < 30


def test_nobody_has_no_block() -> None:
    user, item, day, popularity, attributes = invented(users=1)
    assert list(state_blocks(user[:0], item[:0], day[:0], popularity[:0], attributes)) == []
