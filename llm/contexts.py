"""What a prompt may know about a training row: the user, the items before the target, the target."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from core.data import tables, texts
from core.settings import Workspace

TITLE_LIMIT = 64  # characters of a title, a kind and a profile in a prompt
KIND_LIMIT = 48
PROFILE_LIMIT = 120
COMMENT_LIMIT = texts.COMMENT_LIMIT


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """An item in words. `kind` is its widest and its narrowest category; `brand` is empty where the title has it.

    `comment` is what the user wrote about it: of items of a history only, where it was asked for and there is one.
    """

    title: str
    brand: str
    kind: str
    comment: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """One row in words. All texts are cleaned and quotable; `history` is newest last and empty for a first row."""

    row: int
    profile: str
    history: tuple[Item, ...]
    target: Item
    label: int


_Comments = Mapping[tuple[int, int], tuple[int, str]]  # day and text by user and position


def contexts(ws: Workspace, rows: pa.Table, *, comments: bool = False) -> list[Context]:
    """The rows of a `schemas.TRAINING_ROWS` table in words, in their order.

    Args:
        comments: with what the users wrote about the items of their histories, under the leak rule.
    """
    items, known = items_in_words(ws), profiles(ws)
    said = _comments(ws, rows) if comments else {}
    return [
        Context(
            row=row["row"],
            profile=known.get(row["user"], ""),
            history=tuple(_history(row, items, said)),
            target=items.get(row["item"], _UNKNOWN),
            label=row["label"],
        )
        for row in rows.select(["row", "user", "item", "position", "day", "history", "label"]).to_pylist()
    ]


def items_in_words(ws: Workspace) -> dict[int, Item]:
    """Every item by its id."""
    return {item["item"]: _item(item) for item in tables.items(ws).to_pylist()}


def profiles(ws: Workspace) -> dict[int, str]:
    """What is known of every user beside the history, by id."""
    return {user["user"]: quotable(user["profile"], PROFILE_LIMIT) for user in tables.users(ws).to_pylist()}


def training_split(ws: Workspace) -> pa.Table:
    """The rows that a language model may see or reason about: the training split, one negative each, ordered by row."""
    rows = tables.training_rows(ws)
    return rows.filter((pc.field("split") == "train") & (pc.field("draw") == 0))


def quotable(text: str, limit: int) -> str:
    """A clean text, as `data prepare` leaves all, cut between words and without what ends a quotation in prompts."""
    return texts.cut(text.replace('"', "'"), limit)


def own_words(comment: str) -> str:
    """A comment for a quotation, without typographic marks either, which look as if they ended it."""
    return quotable(comment.translate(_CURLY), COMMENT_LIMIT)


def _comments(ws: Workspace, rows: pa.Table) -> _Comments:
    """Those of the users of `rows`."""
    table = tables.comments(ws).filter(pc.field("user").isin(rows["user"].unique().to_pylist()))
    columns = (table[name].to_pylist() for name in ("user", "position", "day", "text"))
    return {(user, position): (day, text) for user, position, day, text in zip(*columns, strict=True)}


def _history(row: Mapping[str, Any], items: Mapping[int, Item], said: _Comments) -> Iterator[Item]:
    """The items before a row's position, with what was written about them before the row's day: the leak rule."""
    for back, item in zip(range(len(row["history"]), 0, -1), row["history"], strict=True):
        if item in items:
            day, text = said.get((row["user"], row["position"] - back), _NOTHING)
            seen = text and day < row["day"]
            yield replace(items[item], comment=own_words(text)) if seen else items[item]


_NOTHING = (0, "")
_CURLY = str.maketrans(dict.fromkeys("“”„‟«»", "'"))
_UNKNOWN = Item(title="an unknown item", brand="", kind="")


def _item(row: dict[str, Any]) -> Item:
    title, brand = quotable(row["title"], TITLE_LIMIT), quotable(row["brand"], KIND_LIMIT)
    labels = row["categories"]
    kind = ", ".join(labels if len(labels) < 2 else (labels[0], labels[-1]))
    return Item(
        title=title or _UNKNOWN.title,
        brand="" if brand.lower() in title.lower() else brand,
        kind=quotable(kind, KIND_LIMIT),
    )
