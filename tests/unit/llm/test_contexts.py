"""What a prompt may know of a row: only what came before, in words that a quotation can hold."""

import pytest

from core.data import tables
from core.settings import Workspace
from llm import contexts
from llm.contexts import Context, quotable


def test_contexts_show_only_what_came_before(tiny: Workspace) -> None:
    rows = contexts.training_split(tiny)
    assert set(rows["split"].to_pylist()) == {"train"}
    first = rows.slice(0, 400)
    titles = {i["item"]: i["title"] for i in tables.items(tiny).to_pylist()}
    sequences: dict[int, list[int]] = {}
    for entry in tables.interactions(tiny).to_pylist():
        sequences.setdefault(entry["user"], []).append(entry["item"])
    for row, context in zip(first.to_pylist(), contexts.contexts(tiny, first), strict=True):
        before = sequences[row["user"]][: row["position"]][-20:]
        assert [item.title for item in context.history] == [titles[item] for item in before]
        assert context.target.title == titles[row["item"]]
        assert (context.row, context.label) == (row["row"], row["label"])


@pytest.mark.parametrize(
    ("text", "limit", "quoted"),
    [
        ("short", 5, "short"),
        ('a "bold" soap', 40, "a 'bold' soap"),
        ("a soap of olive oil", 12, "a soap of"),
        ("soap, with olive oil", 6, "soap"),
        ("unbreakable", 5, "unbre"),
        ("", 5, ""),
    ],
)
def test_a_quotation_is_cut_between_words_and_holds_no_end_of_one(text: str, limit: int, quoted: str) -> None:
    assert quotable(text, limit) == quoted


def test_a_brand_that_the_title_has_is_not_said_twice_and_a_kind_is_its_ends() -> None:
    row = {"title": "Dove Soap", "brand": "dove", "categories": ["Beauty", "Bath", "Bars"]}
    assert contexts._item(row) == contexts.Item(title="Dove Soap", brand="", kind="Beauty, Bars")
    empty = {"title": "", "brand": "Dove", "categories": []}
    assert contexts._item(empty) == contexts.Item(title="an unknown item", brand="Dove", kind="")


def test_texts_of_strangers_arrive_clean(hostile: dict[str, Context]) -> None:
    for context in hostile.values():
        for text in (context.profile, *words(context.target)):
            assert not set(text) & set('<>"\n\u0000\u202e\u2028')
            assert "[INST]" not in text


def words(item: contexts.Item) -> tuple[str, str, str]:
    return item.title, item.brand, item.kind
