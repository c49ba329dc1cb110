"""What a ranking tells of the examples that the ranker read."""

import json

import numpy as np

from ict.shown import Shown
from llmcf.serving.question import Ranking


def ranking(shown: Shown | None) -> Ranking:
    return Ranking(person=None, item_C=np.array([5, 6]), score_C=None, shown=shown)


def test_similarities_have_four_digits_also_in_json() -> None:
    shown = Shown(np.array([[3, 0], [1, 2]]), np.array([[0.123456, 0], [0.3, 0.99996]], dtype=np.float32))
    numbers, similarities = ranking(shown).examples()
    assert numbers == [[3, 0], [1, 2]]
    assert json.dumps(similarities) == "[[0.1235, 0.0], [0.3, 1.0]]"


def test_each_item_has_a_place_also_without_examples() -> None:
    assert ranking(None).examples() == ([[], []], [[], []])
