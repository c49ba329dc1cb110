"""Milvus, the exact search of training and the serving replica show the same examples for the same request."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pymilvus import DataType

from core.errors import LlmcfError, UsageError
from core.settings import Workspace
from ict import milvus
from ict.examples import Requests, keys
from ict.filters import Filter
from ict.index import KIND, records, search_milvus
from ict.milvus.records import DIGEST, rows
from ict.neighbours import ExactSearch, NeighbourConfig
from ict.replica import Selection, ServingReplica, Stored
from retrieval_stage.items import ItemReplica
from tests import in_memory

ROWS = in_memory.training_rows()
REQUESTS = Requests.of(ROWS)
EXAMPLES = in_memory.example_set(ROWS)
SOME = range(0, len(REQUESTS), 17)
CHOSEN = {stage: Selection(recipe="strict", seed=5) for stage in ("ranking", "retrieval")}
VECTORS = EXAMPLES.item_vectors_VE.numpy()


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
    with milvus.connect(ws) as client:
        name = milvus.publish(client, ws, KIND, records(EXAMPLES, texts))
        stored = Stored.read(milvus.Collection.open(client, name))
    replica = ServingReplica(stored, VECTORS, **CHOSEN)
    config = NeighbourConfig(stage="ranking", recipe="strict", seed=5)
    exact = ExactSearch(EXAMPLES.candidates(), EXAMPLES.item_vectors_VE, config)
    for row in SOME:
        request = REQUESTS.slice(row, row + 1)
        shown = replica.for_ranking(
            user=int(request.user_B),
            position=int(request.position_B),
            day=int(request.day_B),
            history_L=request.history_BL[0].numpy(),
            items_C=np.append(request.item_B.numpy(), [2, 3]),
        )
        assert shown.examples_CK.shape == (3, 4)
        first = (torch.from_numpy(shown.examples_CK[:1]), torch.from_numpy(shown.similarity_CK[:1]))
        assert_same(first, exact(request), exact.scores(request)[0])
    evidence = replica.evidence(7)
    assert evidence["text"] == "text 7"
    assert evidence["item"] == EXAMPLES.item_M[7]
    assert evidence["position"] == EXAMPLES.position_M[7]


def test_a_release_of_before_accounts_is_read_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its collections have numbers for keys, rows, and neither digests nor an account; it is served all the same."""
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path))
    ws = Workspace("movielens-100k", "shuffled-ties")
    made = records(EXAMPLES, [f"text {m}" for m in range(1, EXAMPLES.count + 1)])
    old = replace(
        made,
        ids=np.arange(1, EXAMPLES.count + 1),
        scalars={**made.scalars, "row": EXAMPLES.row_M[1:].numpy()},
        index=milvus.IndexConfig(),
    )
    columns = {name: values for name, values in old.columns().items() if name != DIGEST}
    items = {"id": np.array([2, 3]), "vector": np.eye(2, 4, dtype=np.float32)}
    with milvus.connect(ws) as client:
        for name, fields in (("old_cot", columns), ("old_items", items)):
            schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
            index = client.prepare_index_params()
            for field, values in fields.items():
                if isinstance(values, list):
                    schema.add_field(field, DataType.VARCHAR, max_length=8192)
                elif np.ndim(values) == 2:
                    schema.add_field(field, DataType.FLOAT_VECTOR, dim=np.shape(values)[1])
                    index.add_index(field, index_type="FLAT", metric_type="IP")
                else:
                    schema.add_field(field, DataType.INT64, is_primary=field == "id")
            client.create_collection(name, schema=schema, index_params=index, consistency_level="Strong")
            for part in rows(fields, range(len(fields["id"]))):
                client.insert(name, part)
        replica = ServingReplica(Stored.read(milvus.Collection.open(client, "old_cot")), VECTORS, **CHOSEN)
        stored = ItemReplica.read(client, "old_items")
    np.testing.assert_array_equal(replica.stored.key_MX, EXAMPLES.candidates().key_MX.numpy())
    assert replica.evidence(7)["text"] == "text 7"
    assert stored.exact.search(np.eye(1, 4, dtype=np.float32), 1, [Filter(deny=[3])])[0].tolist() == [[2]]
    with pytest.raises(UsageError, match="have no categories"):
        stored.exact.search(np.eye(1, 4, dtype=np.float32), 1, [Filter(categories=[3])])


def test_examples_of_another_encoder_than_the_releases_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path))
    ws = Workspace("movielens-100k", "shuffled-ties")
    with milvus.connect(ws) as client:
        name = milvus.publish(client, ws, KIND, records(EXAMPLES, ["text"] * EXAMPLES.count))
        stored = Stored.read(milvus.Collection.open(client, name))
    with pytest.raises(LlmcfError, match="have keys of 32 numbers, and the release's item vectors have 8"):
        ServingReplica(stored, VECTORS[:, :8], **CHOSEN)


def assert_same(
    left: tuple[torch.Tensor, torch.Tensor], right: tuple[torch.Tensor, torch.Tensor], score_M: torch.Tensor
) -> None:
    """Same similarities; same examples and order, unless equally near ones stand for each other."""
    torch.testing.assert_close(left[1].sort().values, right[1].sort().values, atol=1e-5, rtol=1e-5)
    if not torch.equal(left[0], right[0]):
        shown = [score_M[numbers[numbers > 0]].sort().values for numbers, _ in (left, right)]
        torch.testing.assert_close(shown[0], shown[1], atol=1e-5, rtol=1e-5)
