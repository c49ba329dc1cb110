"""TTL, accounting, decoding and caching of online rows, over a store in memory."""

from collections.abc import Sequence
from typing import Any

import pytest
from prometheus_client import REGISTRY

from llmcf.online.cache import RowCache
from llmcf.online.rows import Wanted
from llmcf.online.table import Table
from llmcf.online.views import Row, View, decoder

FACTS = View("facts", "item", ("title", "categories"), ttl=1_000.0)
COUNTS = View("counts", "item", ("count",), ttl=10.0)


def stored(**value: Any) -> bytes:
    from feast.protos.feast.types.Value_pb2 import Value

    return Value(**value).SerializeToString()


def categories(*ids: int) -> bytes:
    from feast.protos.feast.types.Value_pb2 import Int64List

    return stored(int64_list_val=Int64List(val=ids))


class Memory:
    """Items 1 to 9; item i has a name, and a count that was true at time 100."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, int], Row] = {}
        self.asked: list[tuple[str, list[int]]] = []
        for one in range(1, 10):
            self.rows["facts", one] = (0.0, (stored(string_val=f"item {one}"), categories(one, 0)))
            self.rows["counts", one] = (100.0, (stored(float_val=one / 2),))

    def read(self, wanted: Wanted) -> list[list[Row | None]]:
        self.asked += [(view.name, list(ids)) for view, ids in wanted]
        return [[self.rows.get((view.name, one)) for one in ids] for view, ids in wanted]

    def forget(self) -> None:
        self.asked.clear()


@pytest.fixture
def memory() -> Memory:
    return Memory()


def table(memory: Memory, kept: int = 100, views: Sequence[View] = (FACTS, COUNTS)) -> Table:
    return Table(memory, views, lead="facts", immutable=frozenset({"facts"}), kept=kept)


def counted(view: str, state: str) -> float:
    return REGISTRY.get_sample_value("llmcf_online_rows_total", {"view": view, "state": state}) or 0.0


def test_fresh_rows_are_merged_and_unknown_ids_are_none(memory):
    found = table(memory).read([2, 77, 1], now=105.0)
    assert found.rows == [
        {"title": "item 2", "categories": [2, 0], "count": 1.0},
        None,
        {"title": "item 1", "categories": [1, 0], "count": 0.5},
    ]
    assert found.stale == {}


def test_a_row_counts_up_to_its_ttl_and_no_longer(memory):
    made = table(memory)
    assert made.read([4], now=110.0).stale == {}
    found = made.read([4, 5, 77], now=110.5)
    assert found.rows[0] == {"title": "item 4", "categories": [4, 0], "count": None}
    assert found.stale == {"counts": 2}


def test_a_cached_row_goes_stale_too(memory):
    made = table(memory)
    made.read([3], now=105.0)
    found = made.read([3], now=1_001.0)
    assert found.rows == [None]
    assert found.stale == {"facts": 1, "counts": 1}


def test_a_view_without_ttl_never_goes_stale(memory):
    forever = View("facts", "item", ("title", "categories"), ttl=float("inf"))
    assert table(memory, views=[forever]).read([1], now=1e12).stale == {}


def test_operators_can_count_rows_by_state(memory):
    before = {state: counted("counts", state) for state in ("fresh", "stale", "missing")}
    made = table(memory)
    made.read([1, 2, 77], now=105.0)
    made.read([1], now=500.0)
    after = {state: counted("counts", state) - before[state] for state in before}
    assert after == {"fresh": 2, "stale": 1, "missing": 1}


def test_only_immutable_rows_that_exist_are_kept(memory):
    made = table(memory)
    made.read([1, 77], now=105.0)
    memory.asked.clear()
    memory.rows["facts", 77] = memory.rows["facts", 9]
    assert made.read([1, 77, 2], now=105.0).rows[1] == {"title": "item 9", "categories": [9, 0], "count": None}
    assert memory.asked == [("facts", [77, 2]), ("counts", [1, 77, 2])]
    made.forget()
    made.read([1], now=105.0)
    assert memory.asked == [("facts", [1]), ("counts", [1])]


def test_an_id_may_be_asked_twice_and_no_id_at_all(memory):
    made = table(memory)
    assert made.read([], now=0.0).rows == []
    one, two = made.read([6, 6], now=105.0).rows
    assert one == two


def test_what_a_caller_changes_is_not_what_the_next_one_reads(memory):
    made = table(memory)
    for _ in range(2):
        row = made.read([1], now=105.0).rows[0]
        assert row
        assert row["categories"] == [1, 0]
        row["categories"].append(9)


def test_the_cache_is_bounded_and_drops_what_was_not_used():
    cache = RowCache(2)
    for one in (1, 2):
        cache.put({one: (0.0, (one,))})
    cache.get([1])
    cache.put({3: (0.0, (3,)), 4: None})
    assert set(cache.get([1, 2, 3, 4])) == {1, 3}
    cache.put({one: (0.0, (one,)) for one in range(10)})
    assert len(cache) == 2


@pytest.mark.parametrize(
    ("kind", "value"),
    [("int32_val", 3), ("double_val", 0.5), ("bool_val", True), ("unix_timestamp_val", 9), ("bytes_val", b"x")],
)
def test_values_are_decoded_as_feast_does(kind, value):
    from feast.protos.feast.types.Value_pb2 import Value
    from feast.type_map import feast_value_type_to_python_type

    expected = feast_value_type_to_python_type(Value(**{kind: value}))
    assert decoder()(stored(**{kind: value})) == expected


def test_what_is_not_stored_decodes_to_none():
    assert decoder()(None) is None
    assert decoder()(b"") is None
