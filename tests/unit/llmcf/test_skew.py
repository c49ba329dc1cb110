"""Which served rows can be held against what is known now."""

import pyarrow as pa
import pytest

from llmcf.skew import _overtaken


def taken(*rows: tuple[int, int]) -> pa.Table:
    """Interactions of (user, timestamp)."""
    return pa.table({"user": pa.array([one[0] for one in rows], pa.int64()), "timestamp": [one[1] for one in rows]})


@pytest.mark.parametrize(
    ("position", "pushed", "left_out"),
    [
        (2, [(5, 30), (5, 40)], False),  # both came later, and belong later
        (3, [(5, 40), (5, 30)], True),  # it knew the one of 40, and that of 30 came after it
        (4, [(5, 40), (5, 30)], False),  # it knew both
        (2, [(5, 40), (5, 30)], False),  # it knew neither
        (3, [(5, 40), (5, 40)], False),  # at the same moment the later one follows
        (3, [(5, 40), (6, 30)], False),  # somebody else's
        (2, [(5, 15)], True),  # before the prepared ones, as another workspace may take it
        (1, [], False),
    ],
)
def test_a_row_is_left_out_whose_history_was_overtaken(
    position: int, pushed: list[tuple[int, int]], left_out: bool
) -> None:
    served = pa.table({"user": [5, 7], "position": [position, 1]})
    found = _overtaken(served, taken((5, 10), (5, 20), (6, 10)), taken(*pushed))
    assert found.tolist() == [left_out, False]
