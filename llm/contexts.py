"""What a prompt may know about a training row: the user, the items before the target, the target."""

from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from core.data import tables
from core.settings import Workspace

TITLE_LIMIT = 64  # characters of a title, a kind and a profile in a prompt
KIND_LIMIT = 48
PROFILE_LIMIT = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """An item in words. `kind` is its widest and its narrowest category; `brand` is empty where the title has it."""

    title: str
    brand: str
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """One row in words. All texts are cleaned and quotable; `history` is newest last and empty for a first row."""

    row: int
    profile: str
    history: tuple[Item, ...]
    target: Item
    label: int


def contexts(ws: Workspace, rows: pa.Table) -> list[Context]:
    """The rows of a `schemas.TRAINING_ROWS` table in words, in their order."""
    items, known = items_in_words(ws), profiles(ws)
    return [
        Context(
            row=row["row"],
            profile=known.get(row["user"], ""),
            history=tuple(items[item] for item in row["history"] if item in items),
            target=items.get(row["item"], _UNKNOWN),
            label=row["label"],
        )
        for row in rows.select(["row", "user", "item", "history", "label"]).to_pylist()
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
    whole = text.replace('"', "'")
    if len(whole) <= limit:
        return whole
    words, _, rest = whole[: limit + 1].rpartition(" ")
    return (words or rest[:limit]).rstrip(" ,;:-(&/")


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
