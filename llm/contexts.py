"""What a prompt may know about a training row: the user, the items before the target, the target."""

from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from core.contracts import PAD
from core.data import tables, texts
from core.settings import Workspace

ITEM_LIMIT = 120  # characters of an item's text in a prompt
PROFILE_LIMIT = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """One row in words. All texts are cleaned and quotable; `history` is newest last and empty for a first row."""

    row: int
    profile: str
    history: tuple[str, ...]
    target: str
    title: str
    label: int


def contexts(ws: Workspace, rows: pa.Table) -> list[Context]:
    """The rows of a `schemas.TRAINING_ROWS` table in words, in their order."""
    items = {item["item"]: item for item in tables.items(ws).select(["item", "title", "text"]).to_pylist()}
    text = {item: quotable(entry["text"], ITEM_LIMIT) for item, entry in items.items()}
    title = {item: quotable(entry["title"], ITEM_LIMIT) or text[item] for item, entry in items.items()}
    profile = {user["user"]: quotable(user["profile"], PROFILE_LIMIT) for user in tables.users(ws).to_pylist()}
    return [
        Context(
            row=row["row"],
            profile=profile.get(row["user"], ""),
            history=_known(row["history"], text),
            target=text.get(row["item"], "unknown item"),
            title=title.get(row["item"], "unknown item"),
            label=row["label"],
        )
        for row in rows.select(["row", "user", "item", "history", "label"]).to_pylist()
    ]


def training_split(ws: Workspace) -> pa.Table:
    """The rows that a language model may see or reason about: the training split, ordered by row."""
    rows = tables.training_rows(ws)
    return rows.filter(pc.equal(rows["split"], "train"))


def quotable(text: str | None, limit: int) -> str:
    """`text` cleaned, and without the character that ends a quotation in our prompts."""
    return texts.clean(text, limit).replace('"', "'")


def _known(history: Iterable[int], text: dict[int, str]) -> tuple[str, ...]:
    return tuple(text[item] for item in history if item != PAD and item in text)
