"""Parts of what a release has answered: rows, and the moments of the positives among them."""

import numpy as np

from llmcf.gates.answering import TOP, Answers


def test_a_part_has_its_rows_and_the_moments_of_its_positives() -> None:
    told = Answers(
        label_N=np.array([1, 0, 1, 0, 1]),
        score_N=np.array([0.9, 0.1, 0.8, 0.2, 0.7]),
        user_N=np.array([2, 2, 3, 3, 4]),
        rank_B=np.array([1.0, np.inf, 3.0]),
        user_B=np.array([2, 3, 4]),
        found_BK=np.arange(3 * TOP).reshape(3, TOP),
    )
    part = told.of(np.array([False, True, True, False, True]))
    assert part.score_N.tolist() == [0.1, 0.8, 0.7]
    assert part.user_N.tolist() == [2, 3, 4]
    assert (part.user_B.tolist(), part.rank_B.tolist()) == ([3, 4], [np.inf, 3.0])
    assert part.found_BK[:, 0].tolist() == [TOP, 2 * TOP]
