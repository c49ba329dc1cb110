"""Items that came after the releases that are served: one file, written by the writer, read by the workers.

`<home>/<data set>/service/additions.parquet` has what a worker needs to offer such an item, to rank it by its facts and
to find its examples by its own text; it is replaced as a whole. Suffixes: N items, C categories an item, E text width.
"""

from collections.abc import Container, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from core import storage
from core.contracts import CATEGORIES
from core.data import texts
from llmcf.service import state
from llmcf.serving.newcomers import Newcomers

Ints, Floats = NDArray[np.int64], NDArray[np.float32]
_ENCODER = "encoder"  # in the file's metadata


def path(dataset: str) -> Path:
    return state.folder(dataset) / "additions.parquet"


@dataclass(frozen=True, kw_only=True)
class Additions:
    """Items by what is known of them, in the order they came.

    Args:
        encoder: what made the texts' vectors, in the words of a release's `encoder`; "" for none, and then E is 0.
        row_N: rows of the vocabulary. To a release that does not know them they are UNKNOWN.
        titles, brands: cleaned, "" where there is none.
        texts: what the encoder has read.
        brand_N, categories_NC: rows of the vocabularies, PAD where the data knows none; categories padded on the right.
        text_NE: unit vectors.
    """

    encoder: str
    row_N: Ints
    raw_ids: Sequence[str]
    titles: Sequence[str]
    brands: Sequence[str]
    categories: Sequence[Sequence[str]]
    texts: Sequence[str]
    brand_N: Ints
    categories_NC: Ints
    text_NE: Floats

    def __len__(self) -> int:
        return len(self.row_N)

    @cached_property
    def names(self) -> list[str]:
        """As they are printed."""
        return [texts.name(title, raw_id) for title, raw_id in zip(self.titles, self.raw_ids, strict=True)]

    @cached_property
    def at(self) -> dict[str, int]:
        """Places by raw id."""
        return {raw_id: place for place, raw_id in enumerate(self.raw_ids)}

    @cached_property
    def at_row(self) -> dict[int, int]:
        """Places by row of the vocabulary."""
        return {row: place for place, row in enumerate(self.row_N.tolist())}

    def beyond(self, known: Container[str]) -> "Additions":
        """Those whose raw ids are not `known`, to a release's catalogue for one."""
        return self.take([place for place, raw_id in enumerate(self.raw_ids) if raw_id not in known])

    def newcomers(self, encoder: str, known: Container[str]) -> Newcomers:
        """As a release takes them whose texts `encoder` reads and whose catalogue has the ids `known`.

        An item whose text another encoder has read is left out: its vector would mean nothing.
        """
        found = self.beyond(known) if self.encoder == encoder else NONE
        found = found.take(np.argsort(found.row_N, kind="stable").tolist())
        return Newcomers(
            row_N=found.row_N,
            raw_ids=found.raw_ids,
            names=found.names,
            brands=found.brands,
            categories=found.categories,
            brand_N=found.brand_N,
            categories_NC=found.categories_NC,
            text_NE=found.text_NE,
        )

    def take(self, places: Sequence[int]) -> "Additions":
        """Those at `places`."""
        at = np.array(places, dtype=np.int64)
        return Additions(
            encoder=self.encoder,
            row_N=self.row_N[at],
            raw_ids=[self.raw_ids[place] for place in places],
            titles=[self.titles[place] for place in places],
            brands=[self.brands[place] for place in places],
            categories=[self.categories[place] for place in places],
            texts=[self.texts[place] for place in places],
            brand_N=self.brand_N[at],
            categories_NC=self.categories_NC[at],
            text_NE=self.text_NE[at],
        )


NONE = Additions(
    encoder="",
    row_N=np.empty(0, dtype=np.int64),
    raw_ids=(),
    titles=(),
    brands=(),
    categories=(),
    texts=(),
    brand_N=np.empty(0, dtype=np.int64),
    categories_NC=np.empty((0, CATEGORIES), dtype=np.int64),
    text_NE=np.empty((0, 0), dtype=np.float32),
)


def write(dataset: str, found: Additions) -> None:
    """Replace the file."""
    columns = {
        "row": pa.array(found.row_N),
        "raw_id": pa.array(found.raw_ids, pa.string()),
        "title": pa.array(found.titles, pa.string()),
        "brand": pa.array(found.brands, pa.string()),
        "categories": pa.array(found.categories, pa.list_(pa.string())),
        "text": pa.array(found.texts, pa.string()),
        "brand_id": pa.array(found.brand_N),
        "category_ids": _fixed(found.categories_NC),
    }
    if found.text_NE.shape[1]:
        columns["text_vector"] = _fixed(found.text_NE)
    with storage.atomic_path(path(dataset)) as beside:
        pq.write_table(pa.table(columns).replace_schema_metadata({_ENCODER: found.encoder}), beside)


def read(dataset: str) -> Additions:
    """What the file holds; NONE without one."""
    try:
        table = storage.parquet(path(dataset))
    except FileNotFoundError:
        return NONE
    count = table.num_rows
    vectors = _matrix(table["text_vector"]) if "text_vector" in table.column_names else np.empty((count, 0), np.float32)
    return Additions(
        encoder=(table.schema.metadata or {}).get(_ENCODER.encode(), b"").decode(),
        row_N=table["row"].to_numpy(),
        raw_ids=table["raw_id"].to_pylist(),
        titles=table["title"].to_pylist(),
        brands=table["brand"].to_pylist(),
        categories=table["categories"].to_pylist(),
        texts=table["text"].to_pylist(),
        brand_N=table["brand_id"].to_numpy(),
        categories_NC=_matrix(table["category_ids"]),
        text_NE=vectors,
    )


class Followed:
    """The file as it is now, for the price of one look at it. Safe for threads."""

    def __init__(self, dataset: str) -> None:
        self._dataset, self._lock = dataset, Lock()
        self._held: tuple[storage.Stamp | None, Additions] = (None, NONE)

    def current(self) -> Additions:
        """The same object until the file is replaced."""
        stamp = storage.stamp(path(self._dataset))
        if stamp != self._held[0]:
            with self._lock:
                if stamp != self._held[0]:
                    self._held = stamp, read(self._dataset)
        return self._held[1]


def _fixed(values_NX: np.ndarray) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(pa.array(values_NX.ravel()), values_NX.shape[1])


def _matrix(column: pa.ChunkedArray) -> np.ndarray:
    width = column.type.list_size
    return column.combine_chunks().flatten().to_numpy().reshape(-1, width)
