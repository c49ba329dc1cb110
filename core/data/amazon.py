"""Amazon 2014, 5-core: Beauty, Sports and Toys, out of UCSD's official files or the prepared Parquet layout.

Official: `reviews_<Name>_5.json.gz` and `meta_<Name>.json.gz` (https://jmcauley.ucsd.edu/data/amazon/links.html), one
JSON object or Python literal a line. Prepared: `<source>/amazon/<Name>/{interactions,items,users}.parquet`. Both give
the same tables, ratings and comments apart: raw ids are reviewerID and ASIN, and interactions come by day, user and
ASIN, which is the published order of S3-Rec's files on every row of Beauty and Sports. A comment is a review's summary
and the head of its text.
"""

import ast
import gzip
import json
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from core import settings
from core.data import dataset, downloads, texts
from core.data.rejects import Rejects, screen
from core.errors import UsageError

_ASIN = re.compile(rb"""['"]asin['"]\s*:\s*['"]([^'"]{1,40})['"]""")
_TABLES = ("interactions", "items", "users")
_COLUMNS = {
    "interactions": {"user", "item", "position", "timestamp"},
    "items": {"item", "asin", "title", "brand", "categories"},
    "users": {"user", "reviewerID"},
}
_EVENT = pl.Schema(
    {
        "file": pl.String,
        "line": pl.Int64,
        "user": pl.String,
        "item": pl.String,
        "timestamp": pl.Int64,
        "rating": pl.Float32,
        "comment": pl.String,
    }
)
_ITEM = pl.Schema({"raw_id": pl.String, "title": pl.String, "brand": pl.String, "categories": pl.List(pl.String)})


@dataclass(frozen=True, slots=True)
class Shelf:
    """One category of the shop: its folder in the prepared layout, its official file name, its root category."""

    folder: str
    file: str
    root: str

    @property
    def official(self) -> tuple[str, str]:
        return f"reviews_{self.file}_5.json.gz", f"meta_{self.file}.json.gz"


def files(shelf: Shelf, source: Path | None) -> list[Path]:
    """The files in `source`, in LLMCF_SHARED, or downloaded: two official ones or three tables.

    Raises:
        UsageError: if `source` holds neither.
    """
    for folder in (source,) if source else (settings.shared() / "data",):
        for place in (folder, folder / "amazon" / shelf.folder, folder / "data" / "amazon" / shelf.folder):
            for names in (shelf.official, tuple(f"{name}.parquet" for name in _TABLES)):
                if all((place / name).is_file() for name in names):
                    return [place / name for name in names]
    if source:
        raise UsageError(
            f"--source {source} holds neither {' and '.join(shelf.official)} nor amazon/{shelf.folder}/"
            f"{{{','.join(_TABLES)}}}.parquet"
        )
    return [downloads.fetch(settings.amazon_url(), name) for name in shelf.official]


def read(shelf: Shelf, paths: Sequence[Path]) -> dataset.RawTables:
    """The raw tables from what `files` returned."""
    rejects = Rejects()
    events, items = _read_official(paths, rejects) if len(paths) == 2 else _read_prepared(paths, rejects)
    events = screen(events, rejects).sort("timestamp", "user", "item")
    _tell_missing(events, items, rejects)
    root = pl.col("categories").list.eval(pl.element().filter(pl.element() != shelf.root))
    items = items.with_columns(root.list.unique(maintain_order=True)).unique("raw_id", maintain_order=True)
    said = events.filter(pl.col("comment") != "").select("user", "item", "timestamp", text="comment")
    return dataset.RawTables(
        events.select(dataset.INTERACTIONS.names).to_arrow().cast(dataset.INTERACTIONS),
        items.select(dataset.ITEMS.names).to_arrow().cast(dataset.ITEMS),
        dataset.USERS.empty_table(),
        rejects,
        comments=said.to_arrow().cast(dataset.COMMENTS),
    )


def _tell_missing(events: pl.DataFrame, items: pl.DataFrame, rejects: Rejects) -> None:
    said = pl.any_horizontal(pl.col("title", "brand").is_not_null(), pl.col("categories").list.len() > 0)
    first = events.unique("item", keep="first", maintain_order=True)
    for row in first.join(items.filter(said), left_on="item", right_on="raw_id", how="anti").iter_rows(named=True):
        rejects.add(row["file"], row["line"], "no_metadata", row["item"])


def _read_prepared(paths: Sequence[Path], rejects: Rejects) -> tuple[pl.DataFrame, pl.DataFrame]:
    tables = {name: _parquet(path, _COLUMNS[name]) for name, path in zip(_TABLES, paths, strict=True)}
    events = tables["interactions"].with_row_index("line", offset=1)
    rejects.lines = len(events)
    raw_ids = tables["items"].select("item", asin=pl.col("asin").cast(pl.String))
    events = (
        events.join(raw_ids, on="item", how="left", maintain_order="left")
        .join(tables["users"], on="user", how="left", maintain_order="left")
        .select(
            file=pl.lit(paths[0].name),
            line=pl.col("line").cast(pl.Int64),
            user="reviewerID",
            item="asin",
            timestamp=pl.col("timestamp").cast(pl.Int64),
            rating=pl.lit(None, pl.Float32),
            comment=pl.lit(None, pl.String),
        )
    )
    return events.cast(_EVENT), tables["items"].rename({"asin": "raw_id"}).select(_ITEM.names()).cast(_ITEM)


def _parquet(path: Path, columns: set[str]) -> pl.DataFrame:
    try:
        table = pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise UsageError(f"{path} is no readable Parquet file: {error}") from None
    if missing := sorted(columns - set(table.columns)):
        raise UsageError(f"{path} lacks the columns {', '.join(missing)}; it has {', '.join(table.columns)}")
    return table


def _read_official(paths: Sequence[Path], rejects: Rejects) -> tuple[pl.DataFrame, pl.DataFrame]:
    reviews, meta = paths
    events = pl.DataFrame(list(_events(reviews, rejects)), schema=_EVENT, orient="row")
    known = {asin.encode() for asin in events["item"].unique().drop_nulls()}
    return events, pl.DataFrame(list(_items(meta, known, rejects)), schema=_ITEM, orient="row")


def _events(path: Path, rejects: Rejects) -> Iterator[tuple[Any, ...]]:
    for number, line in _lines(path, rejects):
        rejects.lines += 1
        if (review := _object(line, path, number, rejects)) is None:
            continue
        user, item = (_text(review.get(name)) for name in ("reviewerID", "asin"))
        time, stars = _number(review.get("unixReviewTime")), _number(review.get("overall"))
        if time is None and review.get("unixReviewTime") is not None:
            rejects.add(path.name, number, "bad_time", review["unixReviewTime"])
        else:
            said = texts.comment(_text(review.get("summary")), _text(review.get("reviewText")))
            yield path.name, number, user, item, None if time is None else int(time), stars, said


def _items(path: Path, known: set[bytes], rejects: Rejects) -> Iterator[tuple[Any, ...]]:
    """Only the items that somebody took: the file describes many more, and Python literals are slow to read."""
    for number, line in _lines(path, rejects):
        found = _ASIN.search(line)
        if found is None or found[1] in known:
            item = _object(line, path, number, rejects)
            if item and (raw_id := _text(item.get("asin"))):
                yield raw_id, _text(item.get("title")), _text(item.get("brand")), _labels(item.get("categories"))


def _labels(paths: object) -> list[str]:
    """The names in lists of paths, each once, in order."""
    flat = [name for path in paths if isinstance(path, list) for name in path] if isinstance(paths, list) else []
    return list(dict.fromkeys(name for name in flat if isinstance(name, str) and name.strip()))


def _lines(path: Path, rejects: Rejects) -> Iterator[tuple[int, bytes]]:
    number = 0
    try:
        with gzip.open(path) as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield number, line
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        if number == 0:
            raise UsageError(f"{path} is no gzip file: {error}") from None
        rejects.add(path.name, number + 1, "truncated", error)


def _object(line: bytes, path: Path, number: int, rejects: Rejects) -> dict[str, Any] | None:
    """The object on a line: JSON, or a Python literal as in UCSD's metadata."""
    text = line.decode("utf-8", "replace")
    for parse in (json.loads, ast.literal_eval):
        try:
            value = parse(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
            continue
        if isinstance(value, dict):
            return value
    rejects.add(path.name, number, "not_an_object", text)
    return None


def _text(value: object) -> str | None:
    """Text that Arrow and Feast can hold: half a surrogate pair cannot be written."""
    return value.encode("utf-8", "replace").decode("utf-8") if isinstance(value, str) else None


def _number(value: object) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e18 else None


def _dataset(shelf: Shelf, counts: tuple[int, int, int]) -> dataset.Dataset:
    code = tuple(f"core/data/{name}.py" for name in ("amazon", "rejects"))
    find: Callable[[Path | None], Sequence[Path]] = partial(files, shelf)
    return dataset.Dataset(files=find, read=partial(read, shelf), code=code, counts=counts, published=True)


AMAZON = {
    "amazon-beauty": _dataset(Shelf("Beauty", "Beauty", "Beauty"), (198_502, 12_101, 22_363)),
    "amazon-sports": _dataset(Shelf("Sports", "Sports_and_Outdoors", "Sports & Outdoors"), (296_337, 18_357, 35_598)),
    "amazon-toys": _dataset(Shelf("Toys", "Toys_and_Games", "Toys & Games"), (167_597, 11_924, 19_412)),
}
