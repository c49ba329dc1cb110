"""What is found is the top of the whole catalogue, ties and all."""

import subprocess
import sys

import numpy as np
import pytest

from core.contracts import HISTORY
from core.settings import PROJECT
from ict.exact import Exact
from ict.filters import Filter
from retrieval_stage.candidates import CandidateSearch
from retrieval_stage.item_space import ItemSpace
from retrieval_stage.items import ItemReplica
from retrieval_stage.transition_graph import TransitionGraph

DAY = 50
SPACE = ItemSpace(with_text=False)


def world(seed: int, items: int = 120) -> tuple[CandidateSearch, np.random.Generator]:
    """Whole numbers as vectors, so that scores tie often, and whole sums are exact; an index that lacks some items."""
    drawn = np.random.default_rng(seed)
    steps = 600
    source = np.sort(drawn.integers(2, items, steps))
    start = np.concatenate([[0], np.bincount(source, minlength=items).cumsum()])
    graph = TransitionGraph(start, drawn.integers(2, items, steps), drawn.integers(0, 2 * DAY, steps))
    ids = np.sort(drawn.choice(np.arange(2, items), items // 2, replace=False))
    vectors = drawn.integers(-1, 2, (len(ids), 4)).astype(np.float32)
    index = ItemReplica("", Exact(ids, vectors, {}))
    return CandidateSearch(items=index, space=SPACE, graph=graph, weight=2.0), drawn


def by_brute_force(
    search: CandidateSearch, vector_W: np.ndarray, history_L: np.ndarray, k: int, rule: Filter
) -> tuple[list[int], list[float]]:
    exact = search.items.exact
    score_V = exact.vectors_NX @ vector_W
    if search.graph is not None:
        added = dict(zip(*(part.tolist() for part in search.graph.after(history_L, DAY)), strict=True))
        score_V = score_V + np.float32(2) * np.array([added.get(item, 0) for item in exact.ids_N], dtype=np.float32)
    allowed = exact.mask(rule)
    ids, score_C = exact.ids_N[allowed], score_V[allowed]
    best = np.lexsort((ids, -score_C))[:k]
    return ids[best].tolist(), score_C[best].tolist()


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("with_graph", [True, False])
def test_it_is_the_top_of_the_catalogue_ties_and_all(seed: int, with_graph: bool) -> None:
    search, drawn = world(seed)
    if not with_graph:
        search = CandidateSearch(items=search.items, space=SPACE)
    lifted = 0
    for k in (1, 3, 10, 59, 100, *[5] * 10):
        vector_W = drawn.integers(-2, 3, 4).astype(np.float32)
        history_L = drawn.integers(0, 120, HISTORY)
        rule = Filter(deny=drawn.choice(120, int(drawn.integers(0, 80)), replace=False))
        found = search.search(vector_W, history_L, DAY, k, rule)
        assert tuple(part.tolist() for part in found) == by_brute_force(search, vector_W, history_L, k, rule)
        dense = search.items.exact.search(vector_W[None], k, [rule])[0][0]
        lifted += len(np.setdiff1d(found[0], dense))
    assert bool(lifted) == with_graph, "the graph brings items that the index alone does not"


@pytest.mark.parametrize("with_graph", [True, False])
def test_what_is_wanted_beside_is_found_with_its_own_score(with_graph: bool) -> None:
    search, drawn = world(3)
    if not with_graph:
        search = CandidateSearch(items=search.items, space=SPACE)
    vector_W, history_L = np.array([2, -1, 1, 1], dtype=np.float32), drawn.integers(0, 120, HISTORY)
    ids = search.items.exact.ids_N.tolist()
    absent = next(one for one in range(2, 120) if one not in ids)
    rule = Filter(deny=[ids[4]])
    whole = dict(zip(*by_brute_force(search, vector_W, history_L, 120, rule), strict=True))
    plain = list(whole)[:5]
    also = [ids[4], absent, plain[2], list(whole)[-1], list(whole)[20]]
    item_C, score_C = search.search(vector_W, history_L, DAY, 5, rule, also=also)
    assert item_C.tolist() == [*plain, also[4], also[3]]
    assert score_C.tolist() == [whole[item] for item in item_C.tolist()]


def test_nothing_left_is_nothing() -> None:
    search, _ = world(1)
    ids, scores = search.search(np.ones(4, dtype=np.float32), np.arange(HISTORY), DAY, 5, Filter(deny=range(120)))
    assert len(ids) == len(scores) == 0


def test_it_needs_no_torch() -> None:
    asked = "import sys, retrieval_stage.candidates; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", asked], cwd=PROJECT, check=False).returncode == 0
