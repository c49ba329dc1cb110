"""Milvus, the exact search of training and the serving replica show the same examples for the same request."""

from pathlib import Path

import pytest
import torch

from core.settings import Workspace
from ict import milvus
from ict.examples import Requests, keys
from ict.index import KIND, records, search_milvus
from ict.neighbours import STAGES, ExactSearch, NeighbourConfig
from ict.replica import ServingReplica
from tests import in_memory

ROWS = in_memory.training_rows()
REQUESTS = Requests.of(ROWS)
EXAMPLES = in_memory.example_set(ROWS)
SOME = range(0, len(REQUESTS), 17)


@pytest.mark.parametrize("recipe", ["strict", "paper"])
def test_same_examples(recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path))
    ws = Workspace("movielens-100k", "shuffled-ties")
    config = NeighbourConfig(stage="ranking", recipe=recipe, seed=5)
    exact = ExactSearch(EXAMPLES.candidates(), EXAMPLES.item_vectors_VE, config)
    with milvus.connect(ws) as client:
        milvus.publish(client, ws, KIND, records(EXAMPLES, [f"text {m}" for m in range(1, EXAMPLES.count + 1)]))
        collection = milvus.open_live(client, ws, KIND, "llmcf cot index")
        for row in SOME:
            request = REQUESTS.slice(row, row + 1)
            key_X = keys(EXAMPLES.item_vectors_VE, request.history_BL, request.item_B)[0]
            found = search_milvus(collection, key_X, request, config)
            assert_same((found.numbers_1K, found.similarity_1K), exact(request), exact.scores(request)[0])


def test_the_replica_read_back_from_milvus_shows_what_training_saw(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path))
    ws = Workspace("movielens-100k", "shuffled-ties")
    texts = [f"text {m}" for m in range(1, EXAMPLES.count + 1)]
    stages = {stage: NeighbourConfig(stage=stage, recipe="strict", seed=5) for stage in STAGES}
    with milvus.connect(ws) as client:
        name = milvus.publish(client, ws, KIND, records(EXAMPLES, texts))
        replica = ServingReplica.read(client, name, EXAMPLES.item_vectors_VE, **stages)
    config = NeighbourConfig(stage="ranking", recipe="strict", seed=5)
    exact = ExactSearch(EXAMPLES.candidates(), EXAMPLES.item_vectors_VE, config)
    for row in SOME:
        request = REQUESTS.slice(row, row + 1)
        shown = replica.for_ranking(
            user=int(request.user_B),
            position=int(request.position_B),
            day=int(request.day_B),
            history_L=request.history_BL[0],
            items_C=torch.cat([request.item_B, torch.tensor([2, 3])]),
        )
        assert shown.examples_CK.shape == (3, 4)
        first = shown.examples_CK[:1], shown.similarity_CK[:1]
        assert_same(first, exact(request), exact.scores(request)[0])
    evidence = replica.evidence(7)
    assert evidence["text"] == "text 7"
    assert evidence["item"] == EXAMPLES.item_M[7]
    assert evidence["position"] == EXAMPLES.position_M[7]


def assert_same(
    left: tuple[torch.Tensor, torch.Tensor], right: tuple[torch.Tensor, torch.Tensor], score_M: torch.Tensor
) -> None:
    """Same similarities; same examples and order, unless equally near ones stand for each other."""
    torch.testing.assert_close(left[1].sort().values, right[1].sort().values, atol=1e-5, rtol=1e-5)
    if not torch.equal(left[0], right[0]):
        shown = [score_M[numbers[numbers > 0]].sort().values for numbers, _ in (left, right)]
        torch.testing.assert_close(shown[0], shown[1], atol=1e-5, rtol=1e-5)
