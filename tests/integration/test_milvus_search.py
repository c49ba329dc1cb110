"""Searching a collection: filters give what the exact reference gives, on random worlds, by Milvus Lite and a server;
what cannot be answered is said.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.contracts import PAD
from core.errors import LlmcfError, UsageError
from core.settings import Workspace
from ict import milvus
from ict.filters import Filter
from ict.milvus.verification import recalls

pytestmark = pytest.mark.integration

COUNT, WIDTH, K = 800, 12, 7
NEVER = np.iinfo(np.int64).max


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path))
    return Workspace("movielens-100k", "shuffled-ties")


def world(seed: int, index: milvus.IndexConfig | None = None, count: int = COUNT) -> milvus.Records:
    """Random rows that are items and examples at once."""
    generator = np.random.default_rng(seed)
    categories = np.zeros((count, 4), dtype=np.int64)
    for row in categories:
        some = generator.choice(9, generator.integers(0, 5), replace=False) + 2
        row[: len(some)] = some
    return milvus.Records(
        ids=np.sort(generator.choice(10 * count, count, replace=False)) + 1,
        vectors={"vector": generator.normal(size=(count, WIDTH)).astype(np.float32)},
        scalars={
            "categories": categories,
            "first_day": np.where(generator.random(count) < 0.1, NEVER, generator.integers(0, 50, count)),
            "day": generator.integers(0, 50, count),
            "label": generator.integers(0, 2, count),
            "user": generator.integers(2, 20, count),
            "position": generator.integers(0, 30, count),
        },
        index=index or milvus.IndexConfig(),
    )


def drawn(generator: np.random.Generator, records: milvus.Records) -> Filter:
    """A random filter; each condition is there or not."""

    def some(most: int) -> np.ndarray:
        return generator.choice(records.ids, generator.integers(1, most), replace=False)

    asked = generator.random(7) < 0.35
    return Filter(
        allow=some(400) if asked[0] else None,
        deny=some(600) if asked[1] else (),
        categories=generator.integers(0, 12, generator.integers(1, 4)) if asked[2] else None,
        on_sale=int(generator.integers(0, 60)) if asked[3] else None,
        before=int(generator.integers(0, 60)) if asked[4] else None,
        label=int(generator.integers(0, 2)) if asked[5] else None,
        seen_from=(int(generator.integers(2, 20)), int(generator.integers(0, 30))) if asked[6] else None,
    )


@contextmanager
def published(ws: Workspace, records: milvus.Records) -> Iterator[milvus.Collection]:
    with milvus.connect(ws) as client:
        milvus.publish(client, ws, "items", records)
        yield milvus.open_live(client, ws, "items", "llmcf export")


@pytest.mark.parametrize("seed", [0, 1])
def test_a_filter_lets_the_same_rows_through_as_its_mask(ws: Workspace, each_milvus: str, seed: int) -> None:
    generator, records = np.random.default_rng(seed), world(seed)
    exact, empty = records.exact("vector"), 0
    rules = [Filter(), Filter(allow=()), Filter(categories=[2]), *(drawn(generator, records) for _ in range(40))]
    with published(ws, records) as collection:
        for rule in rules:
            assert collection.left(rule) == exact.mask(rule).sum(), rule
            queries = generator.normal(size=(2, WIDTH)).astype(np.float32)
            ids, scores = collection.search(queries, K, rule, vector="vector", none_left=True)
            wanted, best = exact.search(queries, K, rule)
            assert ids.tolist() == wanted.tolist(), rule
            np.testing.assert_allclose(scores, best, rtol=1e-4, atol=1e-5)
            empty += not exact.mask(rule).any()
    assert 0 < empty < len(rules) / 2, "some filters leave nothing, most something"


@pytest.mark.parametrize("kind", ["HNSW", "IVF_FLAT"])
def test_an_index_loses_nothing_to_a_narrow_filter(ws: Workspace, each_milvus: str, kind: str) -> None:
    """Graphs and cells pass over the few rows that such a filter leaves; these are read and compared one by one."""
    index = milvus.IndexConfig(kind=kind, m=8, ef=64, nlist=16, nprobe=8)
    records = world(3, index, count=3000)
    exact, generator = records.exact("vector"), np.random.default_rng(3)
    queries = generator.normal(size=(8, WIDTH)).astype(np.float32)
    with published(ws, records) as collection:
        assert collection.index == milvus.IndexConfig.of(index.as_json())
        told: Any = collection.client.describe_index(collection.name, "vector")
        assert (told["index_type"], told["pending_index_rows"]) == (kind, 0), "a server searches otherwise until then"
        for some in (3, 10, 40):
            rule = Filter(allow=generator.choice(records.ids, some, replace=False))
            ids, _ = collection.search(queries, K, rule, vector="vector")
            assert ((ids != PAD).sum(axis=1) == min(K, some)).all()
        wide = [Filter(before=25, label=1), Filter(deny=records.ids[:1000])]
        assert all(np.mean(recalls(collection, exact, queries, rule, "vector", 4)) > 0.9 for rule in wide)


def test_what_cannot_be_answered_is_said(ws: Workspace, each_milvus: str) -> None:
    query = np.ones((1, WIDTH), dtype=np.float32)
    with published(ws, world(4)) as collection:
        with pytest.raises(UsageError, match=r"vectors of 12 numbers, and the queries have 5.*run `llmcf export`"):
            collection.search(query[:, :5], K, vector="vector")
        with pytest.raises(UsageError, match=f"k = {COUNT + 1} is not between 1 and the {COUNT} rows"):
            collection.search(query, COUNT + 1, vector="vector")
        with pytest.raises(UsageError, match=r"the filter \(day < 0\) leaves none of 800 rows"):
            collection.search(query, K, Filter(before=0), vector="vector")
        with pytest.raises(UsageError, match="no vectors 'whole'; run `llmcf export`"):
            collection.search(query, K, vector="whole")


def test_a_collection_without_what_a_filter_asks_for_names_the_remedy(ws: Workspace) -> None:
    records = milvus.Records(ids=np.arange(1, 4), vectors={"vector": np.eye(3, WIDTH, dtype=np.float32)})
    with (
        published(ws, records) as collection,
        pytest.raises(UsageError, match=r"has no categories, first_day, which the filter .* run `llmcf export`"),
    ):
        collection.search(np.eye(1, WIDTH, dtype=np.float32), 1, Filter(categories=[1], on_sale=3), vector="vector")


def test_a_kind_of_index_that_milvus_does_not_build_is_refused(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Milvus Lite takes any name, and fails when it is to load."""
    with milvus.connect(ws) as client:
        first = milvus.publish(client, ws, "items", world(5))
        strange = milvus.IndexConfig(kind="HNSW")
        object.__setattr__(strange, "kind", "DISKANN")
        monkeypatch.setattr(milvus.IndexConfig, "build_params", lambda self: {})
        monkeypatch.setattr(milvus.IndexConfig, "as_json", lambda self: {"kind": self.kind})
        with pytest.raises(UsageError, match=r"Lite .* does not build the index .*DISKANN.*: FLAT, HNSW, IVF_FLAT"):
            milvus.publish(client, ws, "items", world(6, strange))
        assert milvus.live_version(client, ws, "items") == first
        assert milvus.names(client) == {first}


def test_a_server_of_one_vector_a_row_holds_what_is_searched(ws: Workspace, each_milvus: str) -> None:
    both = {name: np.eye(5, 8, dtype=np.float32) for name in ("key", "cot")}
    records = milvus.Records(ids=np.arange(1, 6), vectors=both, kept=frozenset({"cot"}))
    with milvus.connect(ws) as client:
        name = milvus.publish(client, ws, "cot", records)
        account, several = milvus.account_of(client, name), milvus.Server.of(client).several_vectors
        assert sorted(account["widths"]) == (["cot", "key"] if several else ["key"])
        searched = milvus.Records(ids=np.arange(1, 6), vectors=both)
        if several:
            milvus.publish(client, ws, "cot", searched)
        else:
            with pytest.raises(UsageError, match="holds one vector a row, and key and cot are to be searched"):
                milvus.publish(client, ws, "cot", searched)


def test_an_index_that_finds_too_few_of_many_says_so(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ict.milvus.collection._LEFT_TO_READ", 100)
    records = world(7)
    with published(ws, records) as collection:
        monkeypatch.setattr(collection.client, "search", lambda *_, **__: [[]])
        with pytest.raises(LlmcfError, match=r"finds fewer than 7 of the 800 rows .* publish it as IVF_FLAT or FLAT"):
            collection.search(np.ones((1, WIDTH), dtype=np.float32), K, vector="vector")
