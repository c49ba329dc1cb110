"""Items that were added between two preparations, under raw ids: `<home>/<data set>/pushed/items.parquet`.

They belong to the data set, as pushed events do: an item counts in the workspace that took it and in all later ones.
`data prepare` takes those that the data set's own tables do not name; until then the feature store and the service
have them beside the prepared ones.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from filelock import FileLock

from core import settings, storage
from core.data import events, texts
from core.data.dataset import ITEMS
from core.settings import LATEST, Workspace

DESCRIPTION_LIMIT = 2000
SCHEMA = pa.schema(
    [*ITEMS, ("description", pa.string()), ("as_of", pa.string())]  # as_of: of the workspace that took it
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """What is known of a new item; every text is cleaned."""

    raw_id: str
    title: str = ""
    brand: str = ""
    categories: tuple[str, ...] = ()
    description: str = ""

    @property
    def text(self) -> str:
        """What encoders see: as of every prepared item, title, brand and categories."""
        return texts.item_text(self.title, self.brand, self.categories)

    def same(self, other: "Item") -> bool:
        """Whether both say the same, but for the description, which prepared items have not."""
        return (self.title, self.brand, self.categories) == (other.title, other.brand, other.categories)


def item(raw_id: object, title: str, brand: str, categories: Iterable[str], description: str) -> Item:
    """The item, cleaned; without a title, the description's beginning takes its place.

    Raises:
        NoEventError: for an id that is none.
    """
    labels = (texts.clean(name, texts.LABEL_LIMIT) for name in categories)
    told = texts.clean(description, DESCRIPTION_LIMIT)
    return Item(
        raw_id=events.id_of(raw_id),
        title=texts.clean(title, texts.TITLE_LIMIT) or texts.cut(told, texts.TITLE_LIMIT),
        brand=texts.clean(brand, texts.LABEL_LIMIT),
        categories=tuple(label for label in labels if label),
        description=told,
    )


def path(dataset: str) -> Path:
    return settings.home() / dataset / "pushed" / "items.parquet"


def items(ws: Workspace) -> list[Item]:
    """Those that count in this workspace, in the order they came."""
    table = _read(ws.dataset)
    if ws.as_of != LATEST:  # days in ISO form sort as text, and "latest" comes after all of them
        table = table.filter(pc.field("as_of") <= ws.as_of)
    found: dict[str, Item] = {}
    for row in table.drop_columns("as_of").to_pylist():
        found.setdefault(row["raw_id"], Item(**{**row, "categories": tuple(row["categories"])}))
    return list(found.values())


def add(ws: Workspace, new: Sequence[Item]) -> None:
    """Keep what this workspace took, save what it has already. Atomic, and safe between processes."""
    place = path(ws.dataset)
    place.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(place.with_name(".items.lock")):
        known = {one.raw_id for one in items(ws)}
        rows = [asdict(one) | {"as_of": ws.as_of} for one in new if one.raw_id not in known]
        if rows:
            table = pa.concat_tables([_read(ws.dataset), pa.Table.from_pylist(rows, schema=SCHEMA)])
            storage.write_table(place, table, SCHEMA)


def digest(ws: Workspace) -> str | None:
    """What tells whether the items that count here have changed; None without any."""
    found = items(ws)
    return storage.digest([asdict(one) for one in found]) if found else None


def beside(ws: Workspace, named: pa.Table) -> pa.Table:
    """The data set's own items (`dataset.ITEMS`), and after them the added ones that it does not name."""
    known = set(named["raw_id"].to_pylist())
    rows = [asdict(one) for one in items(ws) if one.raw_id not in known]
    return pa.concat_tables([named, pa.Table.from_pylist(rows, schema=ITEMS)]) if rows else named


def _read(dataset: str) -> pa.Table:
    return storage.parquet(path(dataset)) if path(dataset).exists() else SCHEMA.empty_table()
