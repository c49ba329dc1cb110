"""Batches against a slow reference, row by row, and the sharing of examples."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any

import torch
from torchrec import KeyedJaggedTensor

from core.contracts import UNKNOWN
from ranking.bags import Bags, ItemFields, lengthened
from ranking.distributed import Group
from ranking.layers import FIELDS, TABLES, Sizes
from tests import in_memory

ITEMS = in_memory.items_table()
ITEM_FIELDS = ItemFields.of(ITEMS)


def bags(batch_sparse: object, field: str) -> list[list[int]]:
    """Of a field: a table's bags are those of users and items, then those of histories."""
    jagged = batch_sparse[field.removeprefix("history_")]  # pyright: ignore[reportIndexIssue]
    both = [bag.tolist() for bag in jagged.to_dense()]
    return both[len(both) // 2 :] if field.startswith("history_") else both[: len(both) // 2]


def test_items_keep_brands_and_categories() -> None:
    for line in ITEMS.to_pylist():
        assert ITEM_FIELDS.brand_V[line["item"]] == line["brand_id"]
        kept = ITEM_FIELDS.categories_VC[line["item"]]
        assert kept[kept > 0].tolist() == line["category_ids"]
    assert ITEM_FIELDS.brand_V[:2].tolist() == [0, 0]
    assert ITEM_FIELDS.sizes(users=9) == Sizes(user=9, item=32, brand=6, category=8)


def test_sparse_fields_are_what_a_loop_over_rows_would_give() -> None:
    builder, _ = in_memory.batches()
    at_B = torch.tensor([0, 5, 17, 190])
    requests = builder.rows.requests
    sparse = builder(at_B, training=False).sparse
    assert sparse.keys() == list(TABLES)
    by_item = {line["item"]: line for line in ITEMS.to_pylist()}
    for place, row in enumerate(at_B.tolist()):
        user, item = int(requests.user_B[row]), int(requests.item_B[row])
        history = [int(i) for i in requests.history_BL[row] if i]
        brand = by_item[item]["brand_id"]
        expected = {
            "user": [user],
            "item": [item],
            "history_item": history,
            "brand": [brand] if brand else [],
            "history_brand": [by_item[i]["brand_id"] for i in history if by_item[i]["brand_id"]],
            "category": by_item[item]["category_ids"],
            "history_category": [c for i in history for c in by_item[i]["category_ids"]],
        }
        for field, ids in expected.items():
            assert bags(sparse, field)[place] == ids, field


def test_lengthened_fields_are_the_same_and_then_empty() -> None:
    builder, _ = in_memory.batches()
    sparse = builder(torch.tensor([0, 5, 17]), training=False).sparse
    longer = lengthened(sparse, 5)
    for field in FIELDS:
        assert bags(longer, field) == [*bags(sparse, field), [], []]


def test_every_tensor_of_a_batch_moves_to_its_device() -> None:
    def tensors(value: Any) -> Iterator[torch.Tensor]:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, KeyedJaggedTensor):
            yield from (value.values(), value.lengths())
        elif isinstance(value, tuple):
            for part in value:
                yield from tensors(part)
        elif is_dataclass(value):
            for one in fields(value):
                yield from tensors(getattr(value, one.name))

    for framework, count in (("llm-cf", 11), ("kar", 9), ("kd", 6)):
        builder, _ = in_memory.batches(model="din", framework=framework)
        moved = builder(torch.tensor([0, 5, 17]), training=True).to(torch.device("meta"))
        devices = [tensor.device.type for tensor in tensors(moved)]
        assert devices == ["meta"] * count, framework


def test_an_empty_history_is_an_empty_bag() -> None:
    empty = Bags.of(ITEM_FIELDS, 9, torch.zeros(1, 20, dtype=torch.int64))
    sparse = empty(torch.tensor([2]), torch.tensor([3]), torch.tensor([0]))
    assert bags(sparse, "history_item") == [[]]
    assert bags(sparse, "history_category") == [[]]


def test_examples_follow_the_rows_and_slots_point_at_them() -> None:
    builder, _ = in_memory.batches(framework="llm-cf")
    at_B = builder.rows.of_split("test")[:3]
    batch = builder(at_B, training=False)
    context, shown = builder.context, batch.context
    assert context is not None
    assert shown is not None
    numbers = context.neighbours.examples_NK[at_B]
    distinct = sorted({0, *numbers.flatten().tolist()})
    users = [bag[0] if bag else 0 for bag in bags(batch.sparse, "user")]
    assert users[3:] == context.examples.user_M[distinct].tolist()
    assert torch.equal(context.examples.cot_ME[numbers], shown.cot_UE[shown.slots_BK])
    items = torch.cat([builder.rows.requests.item_B[at_B], context.examples.item_M[distinct]])
    of_items_GE = shown.text_YE[len(items) :]
    assert torch.equal(of_items_GE[shown.item_X], context.examples.item_vectors_VE[items])


def test_ids_are_dropped_in_training_only() -> None:
    builder, _ = in_memory.batches()
    dropping = replace(builder, id_dropout=0.5)
    at_B = torch.arange(192)
    torch.manual_seed(0)
    trained = dropping(at_B, training=True).sparse
    for field in ("user", "item"):
        share = sum(bag == [UNKNOWN] for bag in bags(trained, field)) / len(at_B)
        assert 0.4 < share < 0.6
        assert [UNKNOWN] not in bags(dropping(at_B, training=False).sparse, field)
    whole = builder(at_B, training=False).sparse
    for field in ("brand", "category"):
        assert bags(trained, field) == bags(whole, field), "a new item is served with what is known of it, too"
    never = replace(dropping, id_dropout=0.0)
    assert torch.equal(never(at_B, training=True).sparse.values(), never(at_B, training=False).sparse.values())


def test_examples_are_dropped_by_whole_rows_in_training_only() -> None:
    builder, _ = in_memory.batches(framework="llm-cf")
    at_B = torch.arange(192)
    kept = builder(at_B, training=True).context
    torch.manual_seed(0)
    dropped = replace(builder, example_dropout=0.25)(at_B, training=True).context
    scored = replace(builder, example_dropout=0.25)(at_B, training=False).context
    assert kept is not None and dropped is not None and scored is not None
    assert torch.equal(scored.slots_BK, kept.slots_BK)
    had_B, has_B = ((one.slots_BK > 0).any(dim=1) for one in (kept, dropped))
    assert 0.15 < 1 - float(has_B.sum() / had_B.sum()) < 0.35
    assert torch.equal(dropped.cot_UE[dropped.slots_BK[has_B]], kept.cot_UE[kept.slots_BK[has_B]]), "others keep theirs"


def test_items_of_histories_follow_for_models_that_attend() -> None:
    builder, _ = in_memory.batches(model="din", framework="llm-cf")
    at_B = torch.tensor([0, 5, 17, 190])
    batch = builder(at_B, training=False)
    assert batch.place_BL is not None
    assert batch.context is not None
    items = [bag[0] if bag else 0 for bag in bags(batch.sparse, "item")]
    of_history = torch.tensor(items[len(at_B) + len(batch.context.label_U) :])
    assert torch.equal(of_history[batch.place_BL], builder.rows.requests.history_BL[at_B])
    users = bags(batch.sparse, "user")[-len(of_history) :]
    assert not any(users)


def test_a_teachers_score_follows_its_row() -> None:
    builder, _ = in_memory.batches(framework="kd")
    batch = builder(torch.tensor([0, 1, 2, 3]), training=True)
    assert batch.teacher_B is not None
    assert batch.teacher_B.isnan().tolist() == [False, False, True, True]


def test_a_batch_goes_whole_to_the_device_of_its_group() -> None:
    """To `meta`, which stands for a GPU."""
    builder, _ = in_memory.batches(model="din", framework="llm-cf", recipe="best")
    there = Group(device=torch.device("meta")).to_device(builder(torch.arange(5), training=False))
    assert there.context is not None
    parts = [there.sparse.values(), there.dense_BJ, there.label_B, there.context.cot_UE, there.place_BL]
    assert {part.device.type for part in parts if part is not None} == {"meta"}
    assert len(parts) == 5
