"""What keeps a version from going live, on collections that are played."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from core.errors import LlmcfError
from ict.filters import Filter
from ict.milvus.indexes import IndexConfig
from ict.milvus.records import Records
from ict.milvus.verification import midpoints, recalls, verify

COUNT, WIDTH = 200, 8
VECTORS = np.random.default_rng(0).normal(size=(COUNT, WIDTH)).astype(np.float32)
CHECKS = {"no filter": [Filter()], "early": [Filter(before=10), Filter(before=100)], "nothing": [Filter(before=0)]}


def records(**more: Any) -> Records:
    return Records(
        ids=np.arange(1, COUNT + 1),
        vectors={"key": VECTORS},
        scalars={"day": np.arange(COUNT)},
        checks=CHECKS,
        **more,
    )


@dataclass
class Played:
    """Answers as `milvus.Collection` does, but for what a test breaks."""

    count: int = COUNT
    widths: dict[str, int] = field(default_factory=lambda: {"key": WIDTH})
    late: int = 0
    loses: int = 0  # of the best rows
    forgets_filters: bool = False
    account: dict[str, Any] = field(default_factory=lambda: {"encoder": "e1", "index": {}})
    name: str = "played"

    def left(self, rule: Filter, *, also: str) -> int:
        assert also == "day >= 500"
        return self.late

    def search(self, queries_BX: np.ndarray, k: int, rule: Filter, *, vector: str) -> tuple[np.ndarray, np.ndarray]:
        asked = Filter() if self.forgets_filters else rule
        ids, scores = records().exact(vector).search(queries_BX, k + self.loses, asked)
        return ids[:, self.loses :], scores[:, self.loses :]


def test_recall_is_told_by_filter_and_a_filter_that_leaves_nothing_has_none() -> None:
    found = verify(Played(), records(until=500, facts={"encoder": "e1"}))  # pyright: ignore[reportArgumentType]
    assert found == {"key": {"no filter": 1.0, "early": 1.0}}


@pytest.mark.parametrize(
    ("played", "words"),
    [
        (Played(count=199), "stored 199 of 200 rows"),
        (Played(widths={"key": 4}), "holds vectors of 4 numbers, not 8"),
        (Played(widths={}), "holds vectors of None numbers"),
        (Played(account={"encoder": "e2"}), "played names the encoder 'e2', and its rows are of 'e1'; the old version"),
        (Played(account={}), "names the encoder None"),
        (Played(late=3), "3 rows of played are of day 500 or later"),
        (Played(loses=1), r"recall@4 of played.key under no filter is 0\.75\d?, below 0\.99, with {'kind': 'FLAT'}"),
        (Played(forgets_filters=True), "answers wrongly"),
    ],
)
def test_what_is_wrong_is_said(played: Played, words: str) -> None:
    with pytest.raises(LlmcfError, match=words):
        verify(played, records(until=500, facts={"encoder": "e1"}))  # pyright: ignore[reportArgumentType]


def test_the_floor_goes_by_the_index() -> None:
    assert IndexConfig().recall_floor == 0.99
    assert IndexConfig(kind="HNSW").recall_floor == IndexConfig(kind="IVF_FLAT").recall_floor == 0.97


def test_recall_counts_rows_as_near_as_the_last_wanted_one() -> None:
    exact, queries = records().exact("key"), midpoints(VECTORS, 3)
    assert recalls(Played(), exact, queries, Filter(before=2), "key", 4) == [1.0] * 3, "two rows are all there are"  # pyright: ignore[reportArgumentType]
    assert recalls(Played(loses=2), exact, queries, Filter(), "key", 4) == [0.5] * 3  # pyright: ignore[reportArgumentType]


def test_queries_lie_between_rows_and_stay_the_same() -> None:
    first = midpoints(VECTORS)
    np.testing.assert_array_equal(first, midpoints(VECTORS))
    assert not any(np.allclose(query, row) for query in first for row in VECTORS)
