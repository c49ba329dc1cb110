"""Names for vocabulary rows: the items of a release, and the users of its data set, however new."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from threading import Lock

import numpy as np
import pyarrow as pa

from core import storage
from core.contracts import FIRST_ID, PAD
from core.data import tables, texts, vocabulary
from core.settings import Workspace
from llmcf.serving import manifest
from llmcf.serving.manifest import Release

SCHEMA = pa.schema(
    [
        ("item", pa.int64()),
        ("raw_id", pa.string()),
        ("title", pa.string()),
        ("brand", pa.string()),
        ("categories", pa.list_(pa.string())),
        ("category_ids", pa.list_(pa.int64())),
    ]
)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What people call the items that a release may recommend, by vocabulary row; no title means the id.

    Args:
        rows: the row of a raw id.
        category_ids: rows of the vocabulary of categories, by name.
    """

    item_ids: Mapping[int, str]
    names: Mapping[int, str]
    brands: Mapping[int, str]
    categories: Mapping[int, list[str]]
    rows: Mapping[str, int]
    category_ids: Mapping[str, int]

    @classmethod
    def load(cls, release: Release) -> "Catalogue":
        """What `write` left in the release's folder."""
        table = storage.read_table(
            release.folder / manifest.CATALOGUE, SCHEMA, f"llmcf export --dataset {release.dataset}"
        )
        rows, raw_ids, titles, brands, categories, ids = (table[name].to_pylist() for name in SCHEMA.names)
        named = [texts.name(title, raw_id) for title, raw_id in zip(titles, raw_ids, strict=True)]
        pairs = ((names, known) for names, known in zip(categories, ids, strict=True))
        return cls(
            item_ids=dict(zip(rows, raw_ids, strict=True)),
            names=dict(zip(rows, named, strict=True)),
            brands={row: brand or "" for row, brand in zip(rows, brands, strict=True)},
            categories={row: names or [] for row, names in zip(rows, categories, strict=True)},
            rows=dict(zip(raw_ids, rows, strict=True)),
            category_ids={
                name: one for names, known in pairs for name, one in zip(names or [], known or [], strict=False)
            },
        )

    def categories_of(self, item_C: np.ndarray) -> np.ndarray:
        """Rows of the categories of items, (C, X), padded with PAD; none of an item that is not in the catalogue."""
        names = [self.categories.get(item, []) for item in item_C.tolist()]
        rows = [[self.category_ids[one] for one in all_of if one in self.category_ids] for all_of in names]
        found_CX = np.full((len(rows), max(map(len, rows), default=0)), PAD, dtype=np.int64)
        for place, of in enumerate(rows):
            found_CX[place, : len(of)] = of
        return found_CX


def write(ws: Workspace, folder: Path) -> None:
    """The workspace's catalogue as a release keeps it."""
    storage.write_table(folder / manifest.CATALOGUE, tables.items(ws).select(SCHEMA.names), SCHEMA)


class Users:
    """Raw ids of users to vocabulary rows and back. Safe for threads.

    The vocabulary only grows; it is read again when its file has changed, so that a stranger costs a look at the file.
    """

    def __init__(self, dataset: str) -> None:
        self._dataset = dataset
        self._lock = Lock()
        self._stamp: storage.Stamp | None = None
        self._rows: dict[str, int] = {}
        self._ids: list[str] = []
        self._refresh()

    def row_of(self, raw_id: str) -> int | None:
        """The row of a user, who may have arrived a moment ago; None for somebody nobody has seen."""
        if raw_id not in self._rows:
            self._refresh()
        return self._rows.get(raw_id)

    def raw_id(self, row: int) -> str:
        """The raw id of a row that the vocabulary has given."""
        if row - FIRST_ID >= len(self._ids):
            self._refresh()
        return self._ids[row - FIRST_ID]

    def starting(self, text: str, count: int) -> list[str]:
        """The first raw ids that begin with a text, in the order of their rows."""
        return list(islice((one for one in self._ids if one.startswith(text)), count))

    def _refresh(self) -> None:
        path = vocabulary.path(self._dataset, "users")
        stamp = storage.stamp(path)
        with self._lock:
            if stamp and stamp != self._stamp:
                table = storage.parquet(path)
                self._ids = table["raw_id"].to_pylist()
                self._rows = dict(zip(self._ids, table["row"].to_pylist(), strict=True))
                self._stamp = stamp
