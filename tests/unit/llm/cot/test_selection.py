"""Representative rows: each near the middle of a cluster, and every cluster has its share."""

import numpy as np

from llm.cot import selection


def test_medoids_are_distinct_and_cover_the_clusters() -> None:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(8, 5)) * 20
    points = (centres[:, None] + rng.normal(size=(8, 40, 5))).reshape(-1, 5).astype(np.float32)
    found = selection.medoids(points, 16, seed=1)
    assert len(set(found.tolist())) == 16
    assert set((found // 40).tolist()) == set(range(8))


def test_shares_are_whole_and_in_proportion() -> None:
    assert selection._shares(np.array([10, 30, 60]), 10).tolist() == [1, 3, 6]
    assert selection._shares(np.array([1, 1, 1]), 2).sum() == 2
