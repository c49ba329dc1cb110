"""What item searches filter by, and how a version is tried."""

from pathlib import Path

import numpy as np
import pytest

from core import schemas, storage
from core.contracts import CATEGORIES, FIRST_ID, PAD
from core.data import tables
from core.settings import Workspace
from ict.exact import Exact
from ict.filters import Filter
from retrieval_stage import items
from tests import in_memory


def test_facts_are_those_of_the_data(tiny: Workspace) -> None:
    ids = tables.offered(tiny)[::3]
    facts = items.Facts.of(tiny, ids)
    table, taken = tables.items(tiny), tables.interactions(tiny)
    lists = dict(zip(table["item"].to_pylist(), table["category_ids"].to_pylist(), strict=True))
    assert facts.categories_VC.shape == (len(ids), CATEGORIES)
    for row, item in enumerate(ids.tolist()):
        days = taken["day"].to_numpy()[taken["item"].to_numpy() == item]
        assert facts.first_day_V[row] == (days.min() if len(days) else items.NEVER)
        assert facts.categories_VC[row][facts.categories_VC[row] != PAD].tolist() == lists[item]


def test_an_item_that_nobody_took_is_never_on_sale(tiny: Workspace, tmp_path: Path, monkeypatch) -> None:
    taken = tables.interactions(tiny)
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path))
    storage.write_table(tiny.path("data", "items.parquet"), in_memory.items_table(), schemas.ITEMS)
    kept = taken.filter(taken["item"].to_numpy() == FIRST_ID)
    storage.write_table(tiny.path("data", "interactions.parquet"), kept, schemas.INTERACTIONS)
    facts = items.Facts.of(tiny, np.array([FIRST_ID, FIRST_ID + 1]))
    assert facts.first_day_V.tolist() == [kept["day"].to_numpy().min(), items.NEVER]
    rule = Filter(on_sale=int(np.iinfo(np.int64).max))
    assert rule.mask({"id": np.arange(2), "first_day": facts.first_day_V}).tolist() == [True, False]


@pytest.mark.parametrize("known", [True, False])
def test_a_version_is_tried_under_the_filters_that_it_knows(known: bool) -> None:
    ids, vectors = np.arange(2, 302), np.ones((300, 4), dtype=np.float32)
    facts = items.Facts(np.arange(600).reshape(300, 2) % 7, np.arange(300)) if known else None
    records = items.records(ids, vectors, facts)
    assert set(records.checks) == {"no filter", "seen items", "an allow list"} | (
        {"categories", "on sale", "all of these"} if known else set()
    )
    exact = records.exact("vector")
    assert all(exact.mask(rule).any() for rules in records.checks.values() for rule in rules)


def test_a_version_is_tried_with_as_many_seen_items_as_people_have() -> None:
    ids = np.arange(2, 3002)
    facts = items.Facts(np.full((3000, 1), 7), np.arange(3000))
    checks = items.records(ids, np.ones((3000, 4), dtype=np.float32), facts).checks
    assert [len(rule.deny) for rule in checks["seen items"]] == [100, 1000]
    assert [(len(rule.deny), list(rule.categories or ())) for rule in checks["all of these"]] == [
        (100, [7]),
        (1000, [7]),
    ]
    assert all(rule.on_sale for rule in checks["all of these"])


def test_a_replica_filters_each_user_by_itself() -> None:
    columns = {"categories": np.array([[5], [6], [5]]), "first_day": np.array([1, 2, 3])}
    replica = items.ItemReplica("c", Exact(np.array([2, 3, 4]), np.eye(3, dtype=np.float32), columns))
    ids, _ = replica.exact.search(
        np.ones((3, 3), dtype=np.float32), 3, [Filter(categories=[5]), Filter(on_sale=3), Filter()]
    )
    assert ids.tolist() == [[2, 4, PAD], [2, 3, PAD], [2, 3, 4]]
    assert 3 in replica
    assert 9 not in replica
