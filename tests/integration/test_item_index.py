"""The item replica answers as Milvus does, seen items left out."""

from pathlib import Path

import numpy as np
import pytest

from core.contracts import FIRST_ID, PAD
from core.settings import Workspace
from ict import milvus
from ict.filters import Filter
from retrieval_stage import items

pytestmark = pytest.mark.integration

ITEMS, WIDTH = 300, 64
IDS = np.arange(FIRST_ID, FIRST_ID + ITEMS)
VECTORS = np.random.default_rng(0).normal(size=(ITEMS, WIDTH)).astype(np.float32)


@pytest.fixture(scope="module")
def ws() -> Workspace:
    return Workspace("movielens-100k", "published", "2001-02-03")


@pytest.fixture
def published(ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path))
    items.publish(ws, IDS, VECTORS)
    return ws


def read(ws: Workspace, collection: str = "") -> items.ItemReplica:
    """A collection, or the live one."""
    with milvus.connect(ws) as client:
        name = collection or milvus.open_live(client, ws, items.KIND, "llmcf export").name
        return items.ItemReplica.read(client, name)


def test_replica_equals_milvus(published: Workspace) -> None:
    generator = np.random.default_rng(1)
    users = generator.normal(size=(8, WIDTH)).astype(np.float32)
    exclude = [generator.choice(IDS, count, replace=False).tolist() for count in (0, 1, 5, 50, 100, 200, 280, 295)]
    with milvus.connect(published) as client:
        replica = items.ItemReplica.read(client, milvus.open_live(client, published, items.KIND, "llmcf export").name)
        ids, scores = replica.exact.search(users, 10, [Filter(deny=unwanted) for unwanted in exclude])
        for number, unwanted in enumerate(exclude):
            assert not set(ids[number].tolist()) & set(unwanted)
            rule = f"id not in {unwanted}" if unwanted else ""
            hits = client.search(replica.collection, [users[number]], anns_field="vector", limit=10, filter=rule)[0]
            milvus_ids, milvus_scores = (np.array([hit[name] for hit in hits]) for name in ("id", "distance"))
            assert milvus_ids.tolist() == [item for item in ids[number].tolist() if item != PAD]
            np.testing.assert_allclose(milvus_scores, scores[number][: len(milvus_ids)], rtol=1e-4)


def test_the_account_tells_of_every_filter_and_of_what_the_vectors_are(published: Workspace) -> None:
    facts = items.Facts(IDS[:, None] % 7 + FIRST_ID, np.arange(ITEMS))
    origin = {"run": "f00d", "encoder": "beef"}
    with milvus.connect(published) as client:
        bare = milvus.open_live(client, published, items.KIND, "llmcf export").account
    assert set(bare["recall"]["vector"]) == {"no filter", "seen items", "an allow list"}
    name = items.publish(published, IDS, VECTORS, facts, origin=origin)
    with milvus.connect(published) as client:
        account = milvus.open_live(client, published, items.KIND, "llmcf export").account
        assert milvus.live_version(client, published, items.KIND) == name
    asked = {"no filter", "seen items", "an allow list", "categories", "on sale", "all of these"}
    assert account["recall"] == {"vector": dict.fromkeys(asked, 1.0)}
    assert {what: account[what] for what in origin} == origin


def test_fewer_items_than_asked_for_are_filled_up_with_padding(published: Workspace) -> None:
    replica = read(published)
    ids, scores = replica.exact.search(VECTORS[:1], 10, [Filter(deny=IDS[3:])])
    assert sorted(ids[0, :3].tolist()) == IDS[:3].tolist()
    assert ids[0, 3:].tolist() == [PAD] * 7
    assert np.isneginf(scores[0, 3:]).all()
    ids, scores = replica.exact.search(VECTORS[:2], ITEMS + 2)
    assert ids.shape == scores.shape == (2, ITEMS + 2)
    assert (ids[:, -2:] == PAD).all()


def test_a_release_can_hold_on_to_the_version_before(published: Workspace) -> None:
    first = read(published)
    second = items.publish(published, IDS[:5], VECTORS[:5])
    assert read(published).collection == second
    np.testing.assert_array_equal(read(published, first.collection).exact.ids_N, IDS)
