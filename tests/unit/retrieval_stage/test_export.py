"""What a release searches, out of a run and a workspace that may have grown since."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from core.contracts import FIRST_ID
from retrieval_stage.export import Run, _items
from retrieval_stage.recipes import resolve
from retrieval_stage.text_map import TextMap
from retrieval_stage.user_tower import UserTower
from tests import in_memory

KNOWN, LATER, WIDTH = 10, 3, 16
TEXTS = in_memory.item_vectors(KNOWN + LATER, width=WIDTH)
LEARNT = np.arange(KNOWN) != 4  # all but the second that is offered
MAP = TextMap(np.eye(WIDTH, 64, dtype=np.float32), np.ones(64, dtype=np.float32), LEARNT)
OFFERED = np.array([FIRST_ID, FIRST_ID + 4, KNOWN + FIRST_ID, KNOWN + FIRST_ID + 2])


def run(blend: dict[str, float], text_map: TextMap | None, *, cold_start: bool) -> Run:
    torch.manual_seed(1)
    config = replace(resolve(model="sasrec", framework="none", recipe="strict", seed=1), cold_start=cold_start)
    known = torch.ones(5, dtype=torch.bool)
    tower = UserTower(config, known_U=known, items=KNOWN + FIRST_ID).eval()
    return Run(tower, blend, TEXTS if blend or text_map else None, text_map)


@pytest.mark.parametrize(
    "blend", [{}, {"graph": 2.0, "text": 0.0}, {"graph": 0.0, "text": 3.0}, {"text": 3.0, "unseen": 1.0}]
)
@pytest.mark.parametrize(
    ("text_map", "cold_start", "by_tower"),
    [
        pytest.param(None, False, 2, id="no map"),
        pytest.param(MAP, True, 1, id="the run's own, which was measured"),
        pytest.param(MAP, False, 2, id="the release's, for what came later"),
    ],
)
def test_items_that_training_has_not_seen_are_found_where_a_map_places_them(
    blend: dict[str, float], text_map: TextMap | None, cold_start: bool, by_tower: int
) -> None:
    made = run(blend, text_map, cold_start=cold_start)
    ids, vectors = _items(OFFERED, made)
    assert ids.tolist() == OFFERED[: 4 if text_map else 2].tolist()
    assert vectors.dtype == np.float32
    learnt = made.tower.item_vectors().detach().numpy()[ids[:2] - FIRST_ID]
    texts = TEXTS.numpy()[ids]
    np.testing.assert_array_equal(vectors[:by_tower, :64], learnt[:by_tower])
    np.testing.assert_array_equal(vectors[:, 64:80], texts if blend.get("text") else np.empty((len(ids), 0)))
    if "unseen" in blend:
        assert vectors[:, 80].tolist() == [0] * by_tower + [1] * (len(ids) - by_tower)
    np.testing.assert_allclose(vectors[by_tower:, :64], MAP(texts[by_tower:]))
